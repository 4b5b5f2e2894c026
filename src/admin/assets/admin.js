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

const FATES = { event: '', left_out: 'left out: ', refused: 'refused: ', turned_away: 'answered ' };
const OUTCOMES = {
  under_way: 'on its way',
  delivered: 'delivered',
  in_spool: 'in the spool',
  sent_again: 'not delivered: its client was told to send it again',
  refused_by_posthog: 'refused by PostHog',
  dropped_here: 'dropped here',
};

function show(entry) {
  let row = document.getElementById(`message-${entry.number}`);
  if (row) row.replaceChildren();
  else row = rows.insertRow(0);
  row.id = `message-${entry.number}`;
  row.className = `${entry.fate} ${entry.outcome}`;
  cell(row, new Date(entry.at).toLocaleTimeString());
  cell(row, (OUTCOMES[entry.outcome] || entry.outcome) + (entry.answer ? `\n${entry.answer}` : ''));
  cell(row, entry.came);
  cell(row, (entry.outcome === 'refused_by_posthog' ? '' : FATES[entry.fate]) + entry.left);
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
    state.textContent = rows.rows.length ? `${news.recorded} recorded` : 'Waiting for messages …';
  } catch (error) {
    state.textContent = `No answer: ${error.message}`;
  }
  setTimeout(ask, 1000);
}
ask();
