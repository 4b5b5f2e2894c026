// The shop: its buttons, and what they send.
import { show as showVerdicts } from '/blocker.js';
import { send, start, tell, visitor } from '/send.js';
import { clear, follow, showSwitch } from '/story.js';

const { prefix, refusedEvent, liveView } = document.body.dataset;
const by = (id) => document.getElementById(id);

start();

const basket = [];
const product = (node) => ({
  product_id: node.dataset.product,
  name: node.dataset.name,
  price: Number(node.dataset.price),
  quantity: 1,
  currency: 'GBP',
});
const total = (items) => Number(items.reduce((sum, item) => sum + item.price, 0).toFixed(2));
const examples = {
  track: () => window.analytics.track('Catalogue Requested', { format: 'paper', season: 'winter' }),
  identify: () => window.analytics.identify('customer-1041', { name: 'Ada Fern', email: 'ada@example.com', plan: 'club' }),
  page: () => window.analytics.page('Hedging guide'),
  group: () => window.analytics.group('garden-club-7', { name: 'Fernhill Garden Club', members: 12 }),
  alias: () => window.analytics.alias('account-2077'),
  screen: () => window.analytics.screen('Basket', { items: basket.length }),
  reset: () => window.analytics.reset(),
};
const bad = {
  // No library would send it.
  nameless: () => send('track', { properties: { plan: 'club' } }),
  refused: () => window.analytics.track(refusedEvent, { why: 'the stand-in refuses it with 400' }),
};

async function turn() {
  const word = by('switch').ariaChecked === 'true' ? 'away' : 'back';
  try {
    const answer = await fetch('/demo/posthog', { method: 'POST', body: word });
    if (answer.ok) showSwitch(word === 'away');
    else tell(`The switch was answered with status ${answer.status}.`);
  } catch (error) {
    tell(`The switch cannot be reached: ${error.message}`);
  }
}

document.addEventListener('click', (click) => {
  const button = click.target.closest('button');
  if (!button) return;
  const { call, bad: trouble } = button.dataset;
  if (call) {
    examples[call]();
  } else if (trouble) {
    bad[trouble]();
  } else if ('add' in button.dataset) {
    const item = product(button.closest('[data-product]'));
    basket.push(item);
    window.analytics.track('Product Added', item);
  } else if ('checkout' in button.dataset) {
    const products = basket.splice(0);
    window.analytics.track('Order Completed', {
      order_id: `order-${Date.now()}`,
      total: total(products),
      currency: 'GBP',
      products,
    });
  } else if (button.id === 'clear') {
    clear();
  } else if (button.id === 'switch') {
    turn();
  } else {
    return;
  }
  by('count').textContent = basket.length;
  by('count').title = `£${total(basket)}`;
  setTimeout(showVisitor, 100);
});

function showVisitor() {
  const { user, anonymous } = visitor();
  by('who').textContent = user ? `signed in as ${user}` : anonymous ? `visitor ${anonymous.slice(0, 8)}` : '';
}

if (liveView) {
  by('view').href = liveView;
  by('view').hidden = false;
}
window.analytics.page('Shop');
showVisitor();
showVerdicts(by('verdicts'), prefix);
follow(showVisitor);
