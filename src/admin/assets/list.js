// The rows of the table: those of the newest messages that are wanted, each an element of its own that
// stays the same one while the list moves.
import { OUTCOMES, clock, element, span } from '/words.js';

// So many rows at first, and more each time that older ones are asked for.
const STEP = 100;

const CELLS = ['time', 'call', 'event', 'person', 'project', 'route', 'outcome', 'answer'];

function answered(row) {
  if (row.outcome === 'dropped_here') return [row.fate === 'rejected' ? row.answer : row.code];
  const answer = row.outcome === 'refused_by_posthog' ? String(row.answer).split(':')[0] : row.answer;
  return [answer || '', row.took === null ? '' : span(row.took)];
}

function fill(line, row) {
  const [time, call, event, person, project, route, outcome, answer] = line.cells;
  time.textContent = clock(row.at);
  call.textContent = row.call || row.asked;
  const name = row.name || (row.fate === 'rejected' ? '' : row.call || 'message');
  event.replaceChildren(name);
  if (row.becomes && row.becomes !== row.name) event.append(element('span', 'to', ` → ${row.becomes}`));
  event.title = row.becomes ? `${name} → ${row.becomes}` : name;
  person.textContent = row.person || '';
  project.textContent = row.project || '';
  route.textContent = row.route === 'none' ? 'no route' : row.route || '';
  const label = (OUTCOMES[row.outcome] || [row.outcome])[0];
  outcome.replaceChildren(element('span', `said ${row.outcome}`, label));
  answer.textContent = answered(row).filter(Boolean).join(' · ');
  answer.title = answer.textContent;
}

export class List {
  #body;
  #scroll;
  #lines = new Map();
  #limit = STEP;
  #open;
  shown = [];
  selected = null;

  constructor({ body, scroll, open }) {
    this.#body = body;
    this.#scroll = scroll;
    this.#open = open;
    body.addEventListener('click', ({ target }) => {
      const line = target.closest('tr');
      if (line) this.choose(Number(line.dataset.number));
    });
    body.addEventListener('keydown', (event) => this.#key(event));
  }

  // Draws the newest of these rows, which come oldest first; how many there are.
  draw(rows, wanted, end) {
    const shown = [];
    let all = 0;
    for (let place = end - 1; place >= 0; place -= 1) {
      if (!wanted(rows[place])) continue;
      all += 1;
      if (shown.length < this.#limit) shown.push(rows[place]);
    }
    this.shown = shown;
    const keep = new Set(shown.map((row) => row.number));
    for (const [number, line] of this.#lines) {
      if (!keep.has(number)) {
        line.remove();
        this.#lines.delete(number);
      }
    }
    let before = this.#body.firstElementChild;
    for (const row of shown) {
      let line = this.#lines.get(row.number);
      if (!line) {
        line = this.#made(row.number);
        this.#lines.set(row.number, line);
      }
      if (line.drawn !== (row.changed || 0)) {
        fill(line, row);
        line.drawn = row.changed || 0;
      }
      if (line === before) before = before.nextElementSibling;
      else this.#body.insertBefore(line, before);
    }
    this.#tabStop();
    return all;
  }

  #made(number) {
    const line = element('tr');
    line.setAttribute('role', 'row');
    line.dataset.number = number;
    line.tabIndex = -1;
    line.setAttribute('aria-selected', String(number === this.selected));
    for (const name of CELLS) {
      const cell = line.insertCell();
      cell.className = `c-${name}`;
      cell.setAttribute('role', 'gridcell');
    }
    return line;
  }

  // One row can be reached with Tab: the chosen one, else the newest.
  #tabStop() {
    const stop = this.#lines.get(this.selected) || this.#body.firstElementChild;
    if (this.stop === stop) return;
    if (this.stop) this.stop.tabIndex = -1;
    if (stop) stop.tabIndex = 0;
    this.stop = stop;
  }

  choose(number) {
    this.#lines.get(this.selected)?.setAttribute('aria-selected', 'false');
    this.selected = number;
    this.#lines.get(number)?.setAttribute('aria-selected', 'true');
    this.#tabStop();
    this.#open(number);
  }

  // No row is chosen any more; the one that was has the focus again.
  leave() {
    const line = this.#lines.get(this.selected);
    line?.setAttribute('aria-selected', 'false');
    this.selected = null;
    line?.focus({ preventScroll: true });
    return Boolean(line);
  }

  more() {
    this.#limit += STEP;
  }

  fewer() {
    this.#limit = STEP;
    this.#scroll.scrollTop = 0;
    // Where the window is narrow, the page scrolls in place of the list.
    if (this.#body.getBoundingClientRect().top < 0) this.#scroll.scrollIntoView();
  }

  #key(event) {
    const line = event.target.closest('tr');
    const steps = { ArrowDown: 'nextElementSibling', ArrowUp: 'previousElementSibling', Home: 'first', End: 'last' };
    if (!line) return;
    if (event.key === 'Enter' || event.key === ' ') {
      this.choose(Number(line.dataset.number));
    } else if (steps[event.key]) {
      const ends = { Home: this.#body.firstElementChild, End: this.#body.lastElementChild };
      const next = ends[event.key] || line[steps[event.key]];
      next?.focus();
      if (next && this.selected !== null) this.choose(Number(next.dataset.number));
      next?.focus();
    } else {
      return;
    }
    event.preventDefault();
  }
}
