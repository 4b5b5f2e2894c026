// What the page says of an outcome, a time, a number.
export const OUTCOMES = {
  under_way: ['on its way', 'It is on its way to PostHog.'],
  delivered: ['delivered', 'PostHog has it.'],
  in_spool: ['in the spool', 'It is stored in the spool, and goes to PostHog when PostHog accepts it.'],
  sent_again: ['client retries', 'PostHog did not accept it, and its client got 503 and will retry.'],
  refused_by_posthog: ['refused by PostHog', 'PostHog has rejected it for good.'],
  dropped_here: ['dropped here', 'Hedgerow left it out or refused it, and dropped it.'],
};

export const FATES = {
  event: ['As it left', 'to PostHog'],
  left_out: ['Left out', 'on purpose'],
  refused: ['Refused', 'here'],
  rejected: ['Answered', 'to its client'],
};

const count = new Intl.NumberFormat('en');
export const number = (value) => count.format(value);

export const plural = (value, one, more) => `${number(value)} ${value === 1 ? one : more}`;

const pad = (value, digits = 2) => String(value).padStart(digits, '0');

export function clock(text) {
  const at = new Date(text);
  return `${pad(at.getHours())}:${pad(at.getMinutes())}:${pad(at.getSeconds())}.${pad(at.getMilliseconds(), 3)}`;
}

export function day(text) {
  const at = new Date(text);
  return `${at.getFullYear()}-${pad(at.getMonth() + 1)}-${pad(at.getDate())}`;
}

// A length of time in the two units that matter.
export function span(milliseconds) {
  const seconds = Math.floor(milliseconds / 1000);
  if (milliseconds < 1000) return `${Math.round(milliseconds)} ms`;
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
  return `${Math.floor(seconds / 3600)} h ${Math.floor(seconds / 60) % 60} min`;
}

export function bytes(value) {
  if (value < 1000) return `${value} B`;
  if (value < 1e6) return `${(value / 1e3).toFixed(1)} kB`;
  if (value < 1e9) return `${(value / 1e6).toFixed(1)} MB`;
  return `${(value / 1e9).toFixed(2)} GB`;
}

export function element(name, classes = '', ...children) {
  const made = document.createElement(name);
  if (classes) made.className = classes;
  made.append(...children);
  return made;
}
