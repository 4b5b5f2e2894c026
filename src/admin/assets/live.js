// The live view: asks for what is new, and puts feed, list, filters, strip and detail together.
import { Detail } from '/detail.js';
import { Feed } from '/feed.js';
import { Filters } from '/filters.js';
import { List } from '/list.js';
import { Strip } from '/strip.js';
import { number, plural } from '/words.js';

// Milliseconds between two questions, and between two of the strip's.
const EVERY = 500;
const STRIP_EVERY = 2000;
// The server records for fifteen seconds after a question.
const HIDDEN_EVERY = 5000;

const of = (id) => document.getElementById(id);
const feed = new Feed();
const strip = new Strip();
const filters = new Filters(of('filters'), changed);
const list = new List({ body: of('rows'), scroll: of('scroll'), open: openMessage });
const detail = new Detail({ place: of('detail'), told: say, closed: closeMessage });

// Why the list stands still: because the reader said so, has a message open, or has scrolled.
const still = new Set();
// The list does not move under a finger that is about to come down on it.
let pressed = false;
let spokenSkipped = 0;

function say(text) {
  of('spoken').textContent = text;
}

function setStill(why, on) {
  if (on === still.has(why)) return;
  if (on) still.add(why);
  else still.delete(why);
  if (still.size) feed.hold();
  else feed.release();
  of('pause').setAttribute('aria-pressed', String(still.has('paused')));
  of('pause').textContent = still.has('paused') ? 'Paused' : 'Pause';
  draw();
}

function openMessage(chosen) {
  setStill('open', true);
  detail.open(chosen);
}

function closeMessage() {
  if (!detail.close()) return;
  list.leave();
  setStill('open', false);
}

function goOn() {
  list.fewer();
  closeMessage();
  for (const why of [...still]) setStill(why, false);
}

let asked = '';
function changed() {
  // Bodies are searched by the server, which is asked again for all that it keeps.
  if (filters.text !== asked) {
    asked = filters.text;
    clearTimeout(changed.timer);
    changed.timer = setTimeout(() => feed.find(asked), 250);
  }
  draw();
}

function counts(all) {
  const parts = [filters.isAny ? `${number(all)} of ${plural(feed.rows.length, 'row', 'rows')} here` : plural(feed.rows.length, 'row', 'rows')];
  parts.push(`${number(feed.recorded)} recorded`);
  const line = of('counts');
  line.replaceChildren(parts.join(' · '));
  const missing = [
    [feed.skipped, 'skipped: more came between two requests than the server keeps'],
    [feed.dropped, 'older ones left the page'],
    [feed.earlier, 'dropped before the page was opened'],
    [feed.unseen, 'events not recorded while no page was open'],
  ];
  for (const [count, words] of missing) {
    if (!count) continue;
    const bold = document.createElement('b');
    bold.textContent = number(count);
    line.append(' · ', bold, ` ${words}`);
  }
  if (feed.skipped > spokenSkipped * 2) {
    spokenSkipped = feed.skipped;
    say(`${plural(feed.skipped, 'message was', 'messages were')} skipped`);
  }
}

function draw() {
  const waiting = feed.waiting;
  const all = list.draw(feed.rows, filters.test(), feed.rows.length - waiting);
  counts(all);
  of('empty').hidden = feed.rows.length > 0;
  of('older').hidden = all <= list.shown.length;
  const news = of('news');
  news.hidden = waiting === 0;
  news.textContent = `${number(waiting)} new · show`;
}

async function ask() {
  const link = of('link');
  try {
    await feed.ask();
    filters.learn(feed.rows.slice(-500));
    link.textContent = 'recording';
    link.className = '';
    if (!pressed) draw();
    const open = feed.byNumber.get(detail.number);
    if (open) detail.update(open);
  } catch (error) {
    link.textContent = `no answer (${error.message})`;
    link.className = 'lost';
  }
  setTimeout(ask, document.hidden ? HIDDEN_EVERY : EVERY);
}

async function askState() {
  try {
    const answer = await fetch('/live/state', { cache: 'no-store' });
    if (answer.ok) {
      const state = await answer.json();
      detail.file = state.file ?? undefined;
      strip.draw(state);
    }
  } catch {
    // The other question says so.
  }
  setTimeout(askState, document.hidden ? HIDDEN_EVERY : STRIP_EVERY);
}

of('pause').addEventListener('click', () => {
  setStill('paused', !still.has('paused'));
  say(still.has('paused') ? 'The list stands still' : 'The list goes on');
});
of('news').addEventListener('click', goOn);
of('older').addEventListener('click', () => {
  setStill('scrolled', true);
  list.more();
  draw();
});
// Where the window is narrow, the page scrolls in place of the list.
const scrolled = () => setStill('scrolled', of('scroll').scrollTop > 60 || of('list').getBoundingClientRect().top < -60);
for (const place of [of('scroll'), document]) place.addEventListener('scroll', scrolled, { passive: true });
of('rows').addEventListener('pointerdown', () => { pressed = true; });
for (const end of ['pointerup', 'pointercancel']) {
  addEventListener(end, () => setTimeout(() => { pressed = false; }, 50));
}

document.addEventListener('keydown', (event) => {
  const typing = event.target.closest?.('input, select, textarea');
  if (event.key === 'Escape') {
    if (of('more').open) of('more').open = false;
    else if (typing) typing.blur();
    else closeMessage();
  } else if (!typing && !event.ctrlKey && !event.metaKey && !event.altKey) {
    if (event.key === '/') {
      of('filters').elements.find.focus();
      event.preventDefault();
    } else if (event.key === 'p') {
      of('pause').click();
    }
  }
});

ask();
askState();
