// What became of each message: the list, the counts, and one sentence that says what can be seen.
import { coloured, legend, prose, sides } from '/sides.js';

const by = (id) => document.getElementById(id);
const KEPT = 100;
const OUTCOMES = {
  under_way: 'on its way', delivered: 'at PostHog', in_spool: 'in the spool', sent_again: 'client retries',
  refused_by_posthog: 'refused by PostHog', dropped_here: 'refused here',
};

// Rows by number, and the articles of those that are in the list.
const rows = new Map();
const articles = new Map();
let unfolded = null;
let cleared = 0;
let outage = null;

function element(name, classes = '', ...children) {
  const made = document.createElement(name);
  if (classes) made.className = classes;
  made.append(...children);
  return made;
}

function title({ call, name, becomes, fate, code }) {
  const was = [call, name].filter(Boolean).join(' · ') || 'message';
  const is = { event: becomes, left_out: 'left out', refused: becomes || code }[fate] || code;
  return `${was} → ${is}`;
}

function head(article, row) {
  const time = element('time', '', new Date(row.at).toLocaleTimeString());
  time.dateTime = row.at;
  const fold = article.querySelector('.fold');
  fold.replaceChildren(element('b', '', title(row)), element('span', `said ${row.outcome}`, OUTCOMES[row.outcome] || row.outcome), time);
}

async function unfold(number) {
  if (unfolded !== null && unfolded !== number) fold(unfolded);
  unfolded = number;
  const article = articles.get(number);
  if (!article) return;
  article.querySelector('.fold').ariaExpanded = 'true';
  try {
    const answer = await fetch(`/live/message?number=${number}`, { cache: 'no-store' });
    if (!answer.ok || unfolded !== number) return;
    body(article, await answer.json());
  } catch {
    // The list itself says that the server is not there.
  }
}

function fold(number) {
  const article = articles.get(number);
  if (unfolded === number) unfolded = null;
  if (!article) return;
  article.querySelector('.fold').ariaExpanded = 'false';
  article.querySelector('.body').replaceChildren();
}

function body(article, detail) {
  const isEvent = detail.left.startsWith('{');
  const both = isEvent ? sides(detail.came, detail.left, detail.explain) : { came: coloured(detail.came) };
  both.came.classList.add('came');
  const left = both.left || element('p', 'reason', detail.left);
  const half = (words, side) => element('div', 'half', element('h3', '', words), side);
  const parts = [];
  if (both.counts) parts.push(legend(both.counts));
  if (detail.advice) {
    const source = element('p', 'soft', `${detail.advice.document}, ${detail.code}`);
    parts.push(element('div', 'reason', prose(detail.advice.says), source));
  }
  if (detail.fate === 'refused' && detail.answer) parts.push(element('p', 'reason', `PostHog’s answer: ${detail.answer}`));
  parts.push(element('div', 'pair', half('As it came: Segment', both.came), half(isEvent ? 'As it left: PostHog' : 'It did not leave', left)));
  article.querySelector('.body').replaceChildren(...parts);
}

function add(row) {
  const button = element('button', 'fold');
  button.type = 'button';
  button.ariaExpanded = 'false';
  const article = element('article', 'entry fresh', element('header', '', button), element('div', 'body'));
  article.dataset.number = row.number;
  button.addEventListener('click', () => (button.ariaExpanded === 'true' ? fold(row.number) : unfold(row.number)));
  head(article, row);
  articles.set(row.number, article);
  // Rows come in the order in which they changed.
  const below = [...by('list').children].find((other) => Number(other.dataset.number) < row.number);
  by('list').insertBefore(article, below || null);
}

function trim() {
  while (by('list').childElementCount > KEPT) {
    const last = by('list').lastElementChild;
    articles.delete(Number(last.dataset.number));
    rows.delete(Number(last.dataset.number));
    last.remove();
  }
}

function startOver() {
  rows.clear();
  articles.clear();
  by('list').replaceChildren();
  unfolded = null;
  cleared = 0;
}

// Counts for good: a row that leaves the list stays counted.
const ends = new Map();
function tally(posthogHas) {
  const count = (...wanted) => [...ends.values()].filter((outcome) => wanted.includes(outcome)).length;
  const refused = count('refused_by_posthog', 'dropped_here');
  const kept = count('in_spool');
  const settled = count('delivered');
  by('sent').textContent = ends.size;
  by('kept').textContent = kept;
  by('refused').textContent = refused;
  by('has').textContent = posthogHas;
  // What PostHog was said to have, and has not.
  by('lost').textContent = Math.max(0, settled - posthogHas) + count('sent_again');
  return { kept, settled, refused };
}

function tell({ kept }, away) {
  const events = (number) => `${number} ${number === 1 ? 'event' : 'events'}`;
  if (away) {
    outage = { most: Math.max(outage?.most || 0, kept), over: false };
    return kept
      ? `PostHog is away. ${events(kept)} wait safely in the spool, and the page was told 200 for each.`
      : 'PostHog is away. Press buttons: nothing on this page breaks, and the spool fills.';
  }
  if (outage && kept) return `PostHog is back. The spool drains in order; Hedgerow asks again at growing intervals, so it may take as long as the outage. ${events(kept)} to go.`;
  if (outage && !outage.over) {
    outage.over = true;
    outage.words = outage.most
      ? `PostHog is back, and all ${events(outage.most)} that waited have arrived. Nothing was lost.`
      : 'PostHog is back.';
  }
  if (outage?.words) return outage.words;
  return 'Each event twice: as the page sent it, and as PostHog gets it. The marks say what has changed.';
}

let seen = 0;
async function ask() {
  const [list, posthog] = await Promise.all(
    [`/live?after=${seen}`, '/demo/posthog'].map((url) => fetch(url, { cache: 'no-store' })),
  );
  for (const answer of [list, posthog]) if (!answer.ok) throw new Error(`status ${answer.status}`);
  const [{ latest, entries }, { has, away }] = [await list.json(), await posthog.json()];
  if (latest < seen) {
    startOver();
    ends.clear();
  }
  seen = latest;
  let newest = null;
  for (const row of entries) {
    if (row.fate !== 'rejected') ends.set(row.number, row.outcome);
    rows.set(row.number, row);
    const article = articles.get(row.number);
    if (article) {
      head(article, row);
      if (row.fate === 'refused' && unfolded === row.number) unfold(row.number);
    } else if (row.number > cleared) {
      add(row);
      newest = Math.max(newest ?? 0, row.number);
    }
  }
  trim();
  if (newest !== null && newest === Number(by('list').firstElementChild?.dataset.number)) unfold(newest);
  const words = tell(tally(has), away);
  if (by('story').textContent !== words) by('story').textContent = words;
  showSwitch(away);
  return entries.length > 0;
}

export function showSwitch(away) {
  by('switch').ariaChecked = String(!away);
  by('switch').querySelector('b').textContent = away ? 'is away' : 'is there';
}

export function clear() {
  cleared = Math.max(0, ...rows.keys());
  articles.clear();
  by('list').replaceChildren();
  unfolded = null;
}

// Asks all the time; `came` is called when there was something new.
export async function follow(came) {
  try {
    const isNew = await ask();
    by('dot').className = 'dot on';
    by('state').textContent = rows.size ? 'newest first' : 'waiting for the first event';
    if (isNew) came();
  } catch (error) {
    by('dot').className = 'dot off';
    by('state').textContent = `the list cannot be reached (${error.message})`;
  }
  setTimeout(() => follow(came), document.hidden ? 3000 : 500);
}
