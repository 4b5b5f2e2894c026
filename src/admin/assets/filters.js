// Which rows are wanted.
import { OUTCOMES, element } from '/words.js';

export class Filters {
  #form;
  #known = { project: new Set(), call: new Set(), outcome: new Set() };

  constructor(form, changed) {
    this.#form = form;
    for (const [value, [label]] of Object.entries(OUTCOMES)) this.#offer('outcome', value, label);
    form.addEventListener('submit', (event) => event.preventDefault());
    form.addEventListener('input', () => { this.#tell(); changed(); });
    form.addEventListener('reset', () => queueMicrotask(() => { this.#tell(); changed(); }));
    document.addEventListener('click', ({ target }) => {
      if (!target.closest('#more')) form.querySelector('#more').open = false;
    });
  }

  #offer(name, value, label = value) {
    if (!value || this.#known[name].has(value)) return;
    this.#known[name].add(value);
    const option = element('option', '', label);
    option.value = value;
    this.#form.elements[name].append(option);
  }

  // Projects and calls are known from what came.
  learn(rows) {
    for (const row of rows) {
      this.#offer('project', row.project);
      this.#offer('call', row.call);
    }
  }

  value(name) {
    return this.#form.elements[name].value.trim();
  }

  get text() {
    return this.value('find').toLowerCase();
  }

  get isAny() {
    return ['find', 'project', 'call', 'outcome', 'name', 'person'].some((name) => this.value(name));
  }

  #tell() {
    const chosen = ['project', 'call', 'outcome', 'name', 'person'].filter((name) => this.value(name));
    this.#form.querySelector('#chosen').textContent = chosen.length || '';
  }

  // A test for rows, made once for all of them.
  test() {
    const [project, call, outcome] = ['project', 'call', 'outcome'].map((name) => this.value(name));
    const [name, person] = ['name', 'person'].map((field) => this.value(field).toLowerCase());
    const text = this.text;
    const holds = (value, part) => String(value ?? '').toLowerCase().includes(part);
    const searched = ['name', 'becomes', 'person', 'code', 'call', 'asked', 'project', 'route', 'answer', 'outcome'];
    return (row) => (!project || row.project === project)
      && (!call || row.call === call)
      && (!outcome || row.outcome === outcome)
      && (!name || holds(row.name, name) || holds(row.becomes, name))
      && (!person || holds(row.person, person))
      && (!text || row.found || searched.some((field) => holds(row[field], text)));
  }
}
