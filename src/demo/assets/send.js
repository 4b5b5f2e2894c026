// Sending: with the real analytics.js, or the same messages with plain requests.

const { library, reason, prefix, writeKey } = document.body.dataset;
const calls = ['track', 'identify', 'page', 'group', 'alias', 'screen', 'reset'];

export function tell(text) {
  const note = document.getElementById('note');
  note.textContent = text;
  note.hidden = !text;
}

// What is called before the library is there waits in an array, as its loader expects.
function startLibrary() {
  const queue = [];
  for (const call of calls) {
    queue[call] = (...given) => { queue.push([call, ...given]); };
  }
  queue._writeKey = writeKey;
  queue._cdn = location.origin;
  window.analytics = queue;
  const script = document.createElement('script');
  script.async = true;
  script.src = `/analytics.js/v1/${encodeURIComponent(writeKey)}/analytics.min.js`;
  script.onerror = () => startPlain('it could not be loaded', queue);
  document.head.append(script);
}

function keep(name, value) {
  if (value === undefined) return localStorage.getItem(name);
  if (value === null) localStorage.removeItem(name);
  else localStorage.setItem(name, value);
  return value;
}

function random() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-');
}

// One message with a plain request, as the library makes it but for what `rest` says.
export async function send(type, rest) {
  const now = new Date().toISOString();
  const message = {
    type,
    messageId: `shop-${random()}`,
    timestamp: now,
    sentAt: now,
    writeKey,
    anonymousId: visitor().anonymous || keep('ajs_anonymous_id', random()),
    userId: visitor().user || null,
    context: {
      library: { name: 'demo-shop', version: '1' },
      locale: navigator.language,
      timezone: Intl.DateTimeFormat().resolvedOptions().timeZone,
      userAgent: navigator.userAgent,
      page: {
        path: location.pathname,
        referrer: document.referrer,
        search: location.search,
        title: document.title,
        url: location.href,
      },
    },
    integrations: {},
    ...rest,
  };
  try {
    const answer = await fetch(`${prefix}v1/${type[0]}`, {
      method: 'POST',
      headers: { 'Content-Type': 'text/plain' },
      body: JSON.stringify(message),
      keepalive: true,
    });
    if (!answer.ok) tell(`The event was answered with status ${answer.status}.`);
  } catch (error) {
    tell(`The event could not be sent: ${error.message}`);
  }
}

// The same messages without the library.
function startPlain(why, waiting = []) {
  const seen = (name) => ({
    name,
    properties: {
      name, path: location.pathname, referrer: document.referrer,
      search: location.search, title: document.title, url: location.href,
    },
  });
  window.analytics = {
    track: (event, properties = {}) => send('track', { event, properties }),
    page: (name) => send('page', seen(name)),
    screen: (name, properties = {}) => send('screen', { name, properties }),
    identify: (userId, traits = {}) => send('identify', { userId: keep('ajs_user_id', userId), traits }),
    group: (groupId, traits = {}) => send('group', { groupId, traits }),
    alias: (userId) => {
      const previousId = visitor().user || visitor().anonymous;
      return send('alias', { previousId, userId: keep('ajs_user_id', userId) });
    },
    reset: () => { keep('ajs_user_id', null); keep('ajs_anonymous_id', random()); },
  };
  tell(`analytics.js is not in use: ${why}. This page sends the same messages with plain requests.`);
  for (const [call, ...given] of waiting) window.analytics[call](...given);
}

// The ids that the library keeps, which writes them as JSON.
export function visitor() {
  const read = (name) => {
    const value = localStorage.getItem(name);
    return value && value !== 'null' ? value.replace(/^"|"$/g, '') : '';
  };
  return { user: read('ajs_user_id'), anonymous: read('ajs_anonymous_id') };
}

export function start() {
  if (library === 'analytics.js') startLibrary();
  else startPlain(reason);
}
