// JSON as it was written: every number keeps its digits, and a name given twice stands there twice.

const SCALAR = /"(?:[^"\\]|\\.)*"|-?\d[\d.eE+-]*|true|false|null|NaN|-?Infinity/y;
const BLANK = /[\s\ufeff]*/y;

// A tree of {kind: 'object', entries: [[name, node]…]}, {kind: 'array', items} and
// {kind: 'scalar', raw}; throws where the text is no JSON.
export function parse(text) {
  let at = 0;
  const skip = () => { BLANK.lastIndex = at; BLANK.exec(text); at = BLANK.lastIndex; };
  const fail = () => { throw new SyntaxError(`no JSON at ${at}`); };
  const take = (sign) => { skip(); if (text[at] !== sign) return false; at += 1; return true; };
  function scalar() {
    SCALAR.lastIndex = at;
    const hit = SCALAR.exec(text) || fail();
    at = SCALAR.lastIndex;
    return hit[0];
  }
  function members(close, one) {
    const all = [];
    if (take(close)) return all;
    do all.push(one()); while (take(','));
    if (!take(close)) fail();
    return all;
  }
  function node() {
    skip();
    if (take('{')) {
      const entries = members('}', () => {
        skip();
        const name = text[at] === '"' ? JSON.parse(scalar()) : fail();
        if (!take(':')) fail();
        return [name, node()];
      });
      return { kind: 'object', entries };
    }
    if (take('[')) return { kind: 'array', items: members(']', node) };
    return { kind: 'scalar', raw: scalar() };
  }
  const tree = node();
  skip();
  if (at !== text.length) fail();
  return tree;
}

// The node of a name, the last one where it stands there twice.
export function child(node, name) {
  return node?.kind === 'object' ? node.entries.findLast(([key]) => key === name)?.[1] : undefined;
}

// The node that a path with dots leads to, as names with dots in them allow.
export function at(node, path) {
  if (path === '') return node;
  const parts = path.split('.');
  for (let length = 1; length <= parts.length; length += 1) {
    const below = child(node, parts.slice(0, length).join('.'));
    const found = below && at(below, parts.slice(length).join('.'));
    if (found) return found;
  }
  return undefined;
}

// On one line.
export function short(node) {
  if (node.kind === 'scalar') return node.raw;
  if (node.kind === 'array') return node.items.length ? `[${node.items.map(short).join(', ')}]` : '[]';
  return node.entries.length ? `{ ${node.entries.map(([name, value]) => `${JSON.stringify(name)}: ${short(value)}`).join(', ')} }` : '{}';
}
