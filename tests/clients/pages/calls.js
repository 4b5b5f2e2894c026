// The six calls of an anonymous visitor who logs in at the end. Each call waits for the one before:
// without the wait, all would carry the id that the last call sets.
window.calls = (async () => {
  const { analytics } = window;
  document.cookie = 'session=a-secret-of-the-site; path=/';
  analytics.setAnonymousId('visitor-7');
  await new Promise((resolve) => { analytics.ready(resolve); });
  const loaded = window.analytics;
  await loaded.page('Docs', { section: 'api' });
  await loaded.track('Order Completed', { order_id: 'o-1', total: 24.5, note: 'Grüße ☃' });
  await loaded.screen('Basket', { items: 3 });
  await loaded.group('acme', { name: 'Acme', seats: 12 });
  await loaded.alias('user-7');
  await loaded.identify('user-7', { email: 'ada@example.test', plan: 'pro' });
})();
