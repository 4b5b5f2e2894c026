// Makes the six calls with @segment/analytics-node. Arguments: the server's URL, and the path for
// its batches.
import { Analytics } from '@segment/analytics-node';

const [host, path] = process.argv.slice(2);
const analytics = new Analytics({ writeKey: 'wk_real_clients', host, path, flushAt: 4, maxRetries: 2 });
analytics.on('error', (error) => {
  console.error('analytics-node:', error);
  process.exitCode = 1;
});

const userId = 'user-7';
analytics.identify({ userId, traits: { email: 'ada@example.test', plan: 'pro' } });
analytics.track({ userId, event: 'Order Completed', properties: { order_id: 'o-1', total: 24.5, note: 'Grüße ☃' } });
analytics.page({ userId, name: 'Docs', properties: { section: 'api' } });
analytics.screen({ userId, name: 'Basket', properties: { items: 3 } });
analytics.group({ userId, groupId: 'acme', traits: { name: 'Acme', seats: 12 } });
analytics.alias({ userId, previousId: 'visitor-7' });
await analytics.closeAndFlush({ timeout: 20_000 });
