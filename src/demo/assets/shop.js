(() => {
  'use strict';

  const { library, reason, prefix, writeKey } = document.body.dataset;
  const by = (id) => document.getElementById(id);
  const calls = ['track', 'identify', 'page', 'group', 'alias', 'screen', 'reset'];

  function tell(text) {
    by('note').textContent = text;
    by('note').hidden = !text;
  }

  // --- Sending -----------------------------------------------------------------------------

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

  // The same messages without the library.
  function startPlain(why, waiting = []) {
    const keep = (name, value) => {
      if (value === undefined) return localStorage.getItem(name);
      if (value === null) localStorage.removeItem(name);
      else localStorage.setItem(name, value);
      return value;
    };
    const random = () => {
      const bytes = crypto.getRandomValues(new Uint8Array(16));
      bytes[6] = (bytes[6] & 0x0f) | 0x40;
      bytes[8] = (bytes[8] & 0x3f) | 0x80;
      const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
      return hex.replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-');
    };
    const anonymousId = () => keep('ajs_anonymous_id') || keep('ajs_anonymous_id', random());

    async function send(type, rest) {
      const now = new Date().toISOString();
      const message = {
        type,
        messageId: `shop-${random()}`,
        timestamp: now,
        sentAt: now,
        writeKey,
        anonymousId: anonymousId(),
        userId: keep('ajs_user_id'),
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
        const previousId = keep('ajs_user_id') || anonymousId();
        return send('alias', { previousId, userId: keep('ajs_user_id', userId) });
      },
      reset: () => { keep('ajs_user_id', null); keep('ajs_anonymous_id', null); anonymousId(); },
    };
    tell(`analytics.js is not in use: ${why}. This page sends the same messages with plain requests.`);
    for (const [call, ...given] of waiting) window.analytics[call](...given);
  }

  if (library === 'analytics.js') startLibrary();
  else startPlain(reason);

  // --- The shop ----------------------------------------------------------------------------

  const basket = [];
  const product = (node) => ({
    product_id: node.dataset.product,
    name: node.dataset.name,
    price: Number(node.dataset.price),
    quantity: 1,
    currency: 'GBP',
  });
  const sum = () => Number(basket.reduce((sum, item) => sum + item.price, 0).toFixed(2));
  const examples = {
    track: () => window.analytics.track('Catalogue Requested', { format: 'paper', season: 'winter' }),
    identify: () => window.analytics.identify('customer-1041', { name: 'Ada Fern', email: 'ada@example.com', plan: 'club' }),
    page: () => window.analytics.page('Hedging guide'),
    group: () => window.analytics.group('garden-club-7', { name: 'Fernhill Garden Club', members: 12 }),
    alias: () => window.analytics.alias('account-2077'),
    screen: () => window.analytics.screen('Basket', { items: basket.length }),
    reset: () => window.analytics.reset(),
  };

  document.addEventListener('click', (click) => {
    const button = click.target.closest('button');
    if (!button) return;
    if (button.dataset.call) {
      examples[button.dataset.call]();
    } else if ('add' in button.dataset) {
      const item = product(button.closest('[data-product]'));
      basket.push(item);
      window.analytics.track('Product Added', item);
    } else if ('checkout' in button.dataset) {
      const products = basket.splice(0);
      window.analytics.track('Order Completed', {
        order_id: `order-${Date.now()}`,
        total: Number(products.reduce((all, item) => all + item.price, 0).toFixed(2)),
        currency: 'GBP',
        products,
      });
    } else if (button.id === 'clear') {
      by('list').replaceChildren();
    }
    by('count').textContent = basket.length;
    by('count').title = `£${sum()}`;
    setTimeout(showVisitor, 100);
  });

  function showVisitor() {
    const read = (name) => {
      const value = localStorage.getItem(name);
      return value && value !== 'null' ? value.replace(/^"|"$/g, '') : '';
    };
    const user = read('ajs_user_id');
    const anonymous = read('ajs_anonymous_id');
    by('who').textContent = user ? `signed in as ${user}` : anonymous ? `visitor ${anonymous.slice(0, 8)}` : '';
  }

  // --- The live list -----------------------------------------------------------------------

  const token = /("(?:[^"\\]|\\.)*")(\s*:)?|(-?\d[\d.eE+-]*|\btrue\b|\bfalse\b|\bnull\b)/g;

  function coloured(pre, text) {
    let at = 0;
    const add = (kind, part) => {
      const span = document.createElement('span');
      span.className = kind;
      span.textContent = part;
      pre.append(span);
    };
    for (const hit of text.matchAll(token)) {
      pre.append(text.slice(at, hit.index));
      if (hit[3]) add('number', hit[3]);
      else add(hit[2] ? 'key' : 'text', hit[1]);
      if (hit[2]) pre.append(hit[2]);
      at = hit.index + hit[0].length;
    }
    pre.append(text.slice(at));
    return pre;
  }

  function named(text) {
    try {
      const { type, event, name } = JSON.parse(text);
      return [type, event || name].filter(Boolean).join(' · ');
    } catch {
      return '';
    }
  }

  function shown(entry) {
    const article = document.createElement('article');
    article.className = 'entry fresh';
    const header = document.createElement('header');
    const time = document.createElement('time');
    time.dateTime = entry.at;
    time.textContent = new Date(entry.at).toLocaleTimeString();
    const title = document.createElement('b');
    const left = { event: named(entry.left), left_out: 'left out on purpose', refused: 'refused' }[entry.fate];
    title.textContent = `${named(entry.came) || 'message'} → ${left}`;
    header.append(time, title);
    const pair = document.createElement('div');
    pair.className = 'pair';
    const came = coloured(document.createElement('pre'), entry.came);
    const went = document.createElement('pre');
    if (entry.fate === 'event') coloured(went, entry.left);
    else { went.className = 'reason'; went.textContent = `${left}: ${entry.left}`; }
    pair.append(came, went);
    article.append(header, pair);
    return article;
  }

  let seen = 0;
  async function poll() {
    try {
      const answer = await fetch(`/live?after=${seen}`, { cache: 'no-store' });
      if (!answer.ok) throw new Error(`status ${answer.status}`);
      const { latest, entries } = await answer.json();
      if (latest < seen) by('list').replaceChildren();
      for (const entry of entries) by('list').prepend(shown(entry));
      while (by('list').childElementCount > 100) by('list').lastElementChild.remove();
      seen = latest;
      by('dot').className = 'dot on';
      by('state').textContent = seen ? `${seen} so far` : 'waiting for the first event';
      if (entries.length) showVisitor();
    } catch (error) {
      by('dot').className = 'dot off';
      by('state').textContent = `the list cannot be reached (${error.message})`;
    }
    setTimeout(poll, document.hidden ? 3000 : 600);
  }

  window.analytics.page('Shop');
  showVisitor();
  poll();
})();
