// Makes the six calls with the older package `analytics-node`. Arguments: its version, and the
// server's URL with the route's prefix.
import { createRequire } from 'node:module';

const [version, host] = process.argv.slice(2);
const Analytics = createRequire(import.meta.url)(`analytics-node-${version}`);
const analytics = new Analytics('wk_real_clients', { host, flushAt: 4 });

const userId = 'user-7';
analytics.identify({ userId, traits: { email: 'ada@example.test', plan: 'pro' } });
analytics.track({ userId, event: 'Order Completed', properties: { order_id: 'o-1', total: 24.5, note: 'Grüße ☃' } });
analytics.page({ userId, name: 'Docs', properties: { section: 'api' } });
analytics.screen({ userId, name: 'Basket', properties: { items: 3 } });
analytics.group({ userId, groupId: 'acme', traits: { name: 'Acme', seats: 12 } });
analytics.alias({ userId, previousId: 'visitor-7' });
// The library sends four calls as a batch; `flush` sends the rest.
analytics.flush((error) => {
  if (error) {
    console.error('analytics-node:', error);
    process.exitCode = 1;
  }
});
