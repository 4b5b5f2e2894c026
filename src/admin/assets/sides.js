// A message as it came and as it left, side by side: what has another name now, what was added, what
// was used here and what does not leave; each with where it came from, as `convert --explain` has it.
import { at, parse, short } from '/json.js';

const SIGNS = { kept: '', renamed: '→', added: '+', used: '·', dropped: '−' };

// What Hedgerow itself uses of a message.
const USES = {
  type: 'says which call it is',
  messageId: 'gives the uuid, which identifies a retry',
  event: 'names the event',
  timestamp: 'gives the time',
  originalTimestamp: 'gives the time if there is no other',
  sentAt: 'corrects the time by the sender’s clock',
  receivedAt: 'Segment’s own mark',
  writeKey: 'chooses the project',
  integrations: 'says whether PostHog may get it',
  _metadata: 'the library’s own bookkeeping',
  channel: 'Segment’s own mark',
  version: 'Segment’s own mark',
  projectId: 'Segment’s own mark',
  anonymousId: 'names the person if there is no userId',
};

// Where the event's own fields come from.
function fieldOrigin(name, came) {
  const first = (...paths) => paths.find((path) => at(came, path));
  switch (name) {
    case 'uuid': return [first('messageId'), 'from the content of the message'];
    case 'event': return [first('event', 'type'), 'from the call'];
    case 'timestamp': return [first('timestamp', 'originalTimestamp'), 'when it arrived'];
    default: return [undefined, ''];
  }
}

// What an origin in words means: the place in the message that it names, if it names one, and whether
// the value is as it was there.
function read(origin, came) {
  if (at(came, origin)) return { path: origin, same: true };
  const [path, ...rest] = origin.split(', ');
  const then = rest.join(', ');
  if (rest.length && at(came, path)) return { path, same: then.startsWith('then'), note: then };
  return { note: origin };
}

// The marks of both sides: maps from a path to {mark, note}.
export function marks(came, left, explain) {
  const cameMarks = new Map();
  const leftMarks = new Map();
  const uses = new Map();
  const use = (path, becomes) => uses.set(path, [...(uses.get(path) || []), becomes]);
  for (const [name, node] of left.entries) {
    if (name === 'properties') continue;
    const [path, words] = fieldOrigin(name, came);
    if (path) use(path, name);
    const same = path && short(at(came, path)) === short(node);
    const mark = !path ? 'added' : path === name && same ? 'kept' : 'renamed';
    const changed = path === name ? `${path}, corrected` : path;
    leftMarks.set(name, { mark, note: path ? (mark === 'kept' ? '' : changed) : words });
  }
  for (const [name, origin] of Object.entries(explain || {})) {
    const { path, same, note } = read(origin, came);
    if (path) use(path, name);
    const kept = path && same && path.split('.').pop() === name && !note;
    const mark = kept ? 'kept' : path && same ? 'renamed' : 'added';
    leftMarks.set(`properties.${name}`, { mark, note: kept ? '' : origin });
  }
  const walk = (node, path) => {
    const used = uses.get(path);
    if (used) {
      const others = used.filter((name) => name !== path.split('.').pop());
      cameMarks.set(path, others.length ? { mark: 'renamed', note: others.join(', ') } : { mark: 'kept', note: '' });
      return;
    }
    const inside = [...uses.keys()].some((one) => one.startsWith(`${path}.`));
    if (inside && node.kind === 'object') {
      for (const [name, value] of node.entries) walk(value, `${path}.${name}`);
      return;
    }
    const empty = node.kind === 'object' && node.entries.length === 0;
    const why = USES[path];
    if (why) cameMarks.set(path, { mark: 'used', note: why });
    else if (!empty) cameMarks.set(path, { mark: 'dropped', note: node.kind === 'scalar' && node.raw === 'null' ? 'says nothing' : 'does not leave' });
  };
  for (const [name, value] of came.entries) walk(value, name);
  return { cameMarks, leftMarks };
}

function span(kind, text) {
  const made = document.createElement('span');
  made.className = kind;
  made.textContent = text;
  return made;
}

function scalar(raw) {
  return span(raw.startsWith('"') ? 'text' : 'number', raw);
}

// The lines of a tree; `marked` is empty where nothing is to be marked.
function lines(tree, marked, words) {
  const pre = document.createElement('pre');
  pre.className = 'side';
  pre.tabIndex = 0;
  const line = (depth, { mark = '', note = '', said = false } = {}, ...parts) => {
    const made = span(`line ${mark}`, '');
    const sign = span('sign', (!said && SIGNS[mark]) || '');
    sign.ariaHidden = 'true';
    made.append(sign, span('indent', '  '.repeat(depth)), ...parts);
    if (!said && words[mark]) made.append(span('out', ` ${words[mark]} `));
    if (note) made.append(span('why', note));
    pre.append(made, '\n');
  };
  const draw = (node, path, depth, head, tail, inherited) => {
    const own = marked.get(path) || inherited;
    const flat = short(node);
    const inside = path && [...marked.keys()].some((one) => one.startsWith(`${path}.`));
    const fits = flat.length + depth * 2 < 64 && !inside && depth > 0;
    if (node.kind === 'scalar' || fits || depth > 12) {
      const text = node.kind === 'scalar' ? scalar(node.raw) : span('flat', flat);
      line(depth, own, ...head, text, tail);
      return;
    }
    // What is said of the whole is said once.
    const below = own && { mark: own.mark, note: '', said: true };
    const [open, close] = node.kind === 'array' ? '[]' : '{}';
    line(depth, own, ...head, open);
    const all = node.kind === 'array' ? node.items.map((item) => [null, item]) : node.entries;
    all.forEach(([name, value], place) => {
      const key = name === null ? [] : [span('key', JSON.stringify(name)), ': '];
      const under = name === null ? path : path ? `${path}.${name}` : name;
      draw(value, name === null ? `${path}[]` : under, depth + 1, key, place < all.length - 1 ? ',' : '', below);
    });
    line(depth, below, close, tail);
  };
  draw(tree, '', 0, [], '', undefined);
  return pre;
}

export function plain(text) {
  const pre = document.createElement('pre');
  pre.className = 'side';
  pre.tabIndex = 0;
  pre.textContent = text;
  return pre;
}

// Text as lines without marks.
export function coloured(text) {
  try {
    return lines(parse(text), new Map(), {});
  } catch {
    return plain(text);
  }
}

const CAME = { renamed: '(has another name now:)', used: '(used here, not sent on)', dropped: '(not sent on)' };
const LEFT = { renamed: '(renamed from)', added: '(added)' };

// Both sides, and how much is marked how on them; without marks where one of them cannot be read.
export function sides(cameText, leftText, explain) {
  let came;
  let left;
  try {
    came = parse(cameText);
    left = parse(leftText);
    if (came.kind !== 'object' || left.kind !== 'object') throw new SyntaxError('no object');
  } catch {
    return { came: coloured(cameText), left: coloured(leftText), counts: null };
  }
  const { cameMarks, leftMarks } = marks(came, left, explain);
  const counts = { kept: 0, renamed: 0, added: 0, used: 0, dropped: 0 };
  for (const { mark } of leftMarks.values()) counts[mark] += 1;
  for (const { mark } of cameMarks.values()) if (mark === 'used' || mark === 'dropped') counts[mark] += 1;
  if (!explain) return { came: lines(came, new Map(), {}), left: lines(left, new Map(), {}), counts: null };
  return { came: lines(came, cameMarks, CAME), left: lines(left, leftMarks, LEFT), counts };
}

// What the marks mean and how many there are of each.
export function legend(counts) {
  const said = [
    ['kept', '', 'as they were'], ['renamed', '→', 'under another name'], ['added', '+', 'added'],
    ['used', '·', 'used here'], ['dropped', '−', 'not sent on'],
  ];
  const made = document.createElement('p');
  made.className = 'legend';
  for (const [mark, sign, words] of said) {
    if (!counts[mark]) continue;
    const one = span(`of ${mark}`, '');
    if (sign) one.append(span('sign', sign));
    one.append(`${counts[mark]} ${words}`);
    made.append(one, ' ');
  }
  return made;
}

// Markdown's code spans and links, as far as the documents use them in tables.
export function prose(text) {
  const made = document.createElement('p');
  const parts = text.replace(/\[([^\]]+)\]\([^)]*\)/g, '$1').split('`');
  parts.forEach((part, place) => {
    const code = document.createElement('code');
    code.textContent = part;
    made.append(place % 2 ? code : part);
  });
  return made;
}
