// One message with everything: both sides, why, and how to do it again.
import { FATES, OUTCOMES, clock, day, element, span } from '/words.js';
import { coloured, legend, prose, sides } from '/sides.js';

function quoted(text) {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

// The command that repeats the rewriting: the same configuration, message, project and call. A
// configuration that is no file the reader has to name.
export function command(detail, file = 'hedgerow.yaml') {
  const word = (text) => (/^[\w./-]+$/.test(text) ? text : quoted(text));
  const came = detail.came.replace(/\n\s*/g, ' ');
  const kind = detail.type ? ` --type ${detail.type}` : '';
  const project = detail.project ? ` --project ${word(detail.project)}` : '';
  return `printf '%s' ${quoted(came)} | hedgerow convert -c ${word(file)} --explain${project}${kind} --received-at ${detail.at}`;
}

function copier(label, text, told) {
  const button = element('button', 'copy', label);
  button.type = 'button';
  button.addEventListener('click', async () => {
    let done = true;
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      // An address without TLS has no clipboard for scripts: the old way still works there.
      const field = element('textarea', 'out');
      field.value = text;
      document.body.append(field);
      field.select();
      done = document.execCommand('copy');
      field.remove();
      button.focus();
    }
    button.textContent = done ? 'Copied' : 'Cannot copy here';
    told(done ? `${label}: done` : 'The browser does not let this page copy');
    setTimeout(() => { button.textContent = label; }, 1500);
  });
  return button;
}

export class Detail {
  #place;
  #told;
  #closed;
  number = null;
  // The file of the configuration, where there is one.
  file = undefined;

  constructor({ place, told, closed }) {
    this.#place = place;
    this.#told = told;
    this.#closed = closed;
  }

  async open(number) {
    this.number = number;
    this.#place.hidden = false;
    let detail = null;
    let trouble = 'The server no longer has this message.';
    try {
      const answer = await fetch(`/live/message?number=${number}`, { cache: 'no-store' });
      if (answer.ok) detail = await answer.json();
      else if (answer.status !== 404) trouble = `The server answers with status ${answer.status}.`;
    } catch (error) {
      trouble = `The server gives no answer: ${error.message}.`;
    }
    // Another one has been chosen meanwhile.
    if (this.number !== number) return;
    if (detail) this.#draw(detail);
    else this.#place.replaceChildren(this.#head('Gone'), element('p', 'body', trouble));
    this.#place.scrollTop = 0;
  }

  // What is known of its end changes.
  update(row) {
    const said = this.#place.querySelector('.outcome');
    if (said && row.number === this.number) said.replaceWith(this.#outcome(row));
  }

  close() {
    if (this.number === null) return false;
    this.number = null;
    this.#place.hidden = true;
    this.#place.replaceChildren();
    return true;
  }

  #head(...title) {
    const close = element('button', 'close', 'Close');
    close.type = 'button';
    close.addEventListener('click', () => this.#closed());
    return element('header', '', element('h2', '', ...title), close);
  }

  #outcome(row) {
    const [label, words] = OUTCOMES[row.outcome] || [row.outcome, ''];
    const sentence = row.fate === 'rejected' ? 'The request was rejected, and became no message.' : words;
    const answer = row.outcome === 'dropped_here' ? row.code : row.answer;
    const said = element('p', 'outcome', element('b', `said ${row.outcome}`, label), ` ${sentence}`);
    if (answer) said.append(' ', element('span', 'soft', row.outcome === 'dropped_here' ? 'Code ' : 'Answer '), element('code', '', answer));
    if (row.took !== null) said.append(element('span', 'soft', `, after ${span(row.took)}`));
    return said;
  }

  #draw(detail) {
    const title = [detail.name || detail.call || detail.asked];
    if (detail.becomes && detail.becomes !== detail.name) title.push(element('span', 'to', ` → ${detail.becomes}`));
    const facts = element('dl');
    const batch = detail.asked !== detail.call ? `${detail.call}, in a ${detail.asked}` : detail.call;
    for (const [name, value] of [
      ['Time', `${day(detail.at)} ${clock(detail.at)}`], ['Call', batch], ['Person', detail.person],
      ['Project', detail.project], ['Route', detail.route === 'none' ? 'none' : detail.route],
    ]) if (value) facts.append(element('div', '', element('dt', '', name), element('dd', '', value)));
    const parts = [this.#head(...title), this.#outcome(detail), facts];
    if (detail.advice) parts.push(this.#advice(detail));
    parts.push(...this.#sides(detail));
    this.#place.replaceChildren(...parts);
  }

  #advice({ code, advice }) {
    const source = element('p', 'source', advice.document, ', ', element('code', '', code));
    return element('blockquote', '', prose(advice.says), source);
  }

  #sides(detail) {
    const isEvent = detail.becomes !== null && detail.left.startsWith('{');
    const both = isEvent ? sides(detail.came, detail.left, detail.explain) : {
      came: coloured(detail.came), left: element('p', 'reason', detail.left), counts: null,
    };
    both.came.classList.add('came');
    const [heading, whither] = isEvent ? FATES.event : FATES[detail.fate];
    const side = (title, more, content, ...buttons) => element('section', 'half',
      element('header', '', element('h3', '', title, element('span', 'soft', ` ${more}`)), ...buttons), content);
    const rejected = detail.fate === 'rejected';
    const pair = element('div', 'pair',
      side(rejected ? 'The request' : 'As it came', rejected ? '' : 'from Segment’s library', both.came, copier('Copy', detail.came, this.#told)),
      side(heading, whither, both.left, copier('Copy', detail.left, this.#told)));
    const parts = [];
    if (both.counts) parts.push(legend(both.counts));
    parts.push(pair);
    if (!rejected && !detail.came.includes('(hidden: privacy)') && !/… \d+ more bytes$/.test(detail.came)) {
      const line = command(detail, this.file);
      const again = element('section', 'half again',
        element('header', '', element('h3', '', 'Do it again'), copier('Copy the command', line, this.#told)), element('pre', 'side', line));
      if (detail.asked === 'batch') again.append(element('p', 'soft', 'It does not include the batch's values for all its messages.'));
      parts.push(again);
    }
    return parts;
  }
}
