// Loads analytics.js from the page's own host. Earlier calls wait in an array.
(() => {
  const queue = [];
  for (const call of ['page', 'track', 'screen', 'group', 'alias', 'identify', 'setAnonymousId', 'ready']) {
    queue[call] = (...given) => { queue.push([call, ...given]); };
  }
  queue._writeKey = 'wk_real_clients';
  queue._cdn = location.origin;
  window.analytics = queue;
  const script = document.createElement('script');
  script.async = true;
  script.src = '/analytics.js/v1/wk_real_clients/analytics.min.js';
  document.head.append(script);
})();
