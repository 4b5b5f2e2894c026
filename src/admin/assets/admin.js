'use strict';
// Asks for what is new once a second and shows the newest two hundred messages.
const KEPT = 200;
const rows = document.getElementById('messages');
const state = document.getElementById('state');
let seen = 0;

function cell(row, text) {
  const pre = document.createElement('pre');
  pre.textContent = text;
  row.insertCell().append(pre);
}

function show(entry) {
  const row = rows.insertRow(0);
  row.className = entry.fate;
  cell(row, new Date(entry.at).toLocaleTimeString());
  cell(row, entry.came);
  const before = { event: '', left_out: 'left out: ', refused: 'refused: ' }[entry.fate];
  cell(row, before + entry.left);
  while (rows.rows.length > KEPT) rows.deleteRow(-1);
}

async function ask() {
  try {
    const answer = await fetch(`/live?after=${seen}`, { cache: 'no-store' });
    if (!answer.ok) throw new Error(`status ${answer.status}`);
    const news = await answer.json();
    if (news.latest < seen) rows.replaceChildren();
    seen = news.latest;
    news.entries.forEach(show);
    state.textContent = rows.rows.length ? `${seen} recorded` : 'Waiting for messages …';
  } catch (error) {
    state.textContent = `No answer: ${error.message}`;
  }
  setTimeout(ask, 1000);
}
ask();
