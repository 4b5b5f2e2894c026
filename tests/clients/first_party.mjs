// Opens a page with both libraries in headless Chromium and does what a visitor does. One argument,
// JSON: {"chromium": FILE, "url": URL, "map": "MAP …", "posthog": bool, "analytics": bool,
// "scenario": "stay" | "leave" | "back" | "late"}.
// Prints what it saw as one line of JSON.
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { chromium } from 'playwright-core';

const { chromium: executablePath, url, map, posthog, analytics, scenario } = JSON.parse(process.argv[2]);

// As a flag too: Playwright's own way of saying it does not outlive the back-forward cache.
const userAgent = 'Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/143.0.0.0 Safari/537.36';
const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'first-party-'));
const netlog = path.join(folder, 'net.json');
const context = await chromium.launchPersistentContext(path.join(folder, 'profile'), {
  executablePath,
  headless: true,
  ignoreDefaultArgs: ['--disable-back-forward-cache'],
  // posthog-js takes headless browsers for robots and stays silent.
  userAgent,
  args: [
    `--user-agent=${userAgent}`, '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--disable-quic', '--no-first-run',
    '--disable-background-networking', '--disable-component-update', '--disable-sync',
    '--disable-blink-features=AutomationControlled', `--host-resolver-rules=${map}`,
    `--log-net-log=${netlog}`,
  ],
});
const page = await context.newPage();

await page.addInitScript(() => addEventListener('pageshow', (event) => { window.fromCache = event.persisted; }));

const errors = [];
page.on('pageerror', (error) => errors.push(`page: ${error}`));
page.on('console', (message) => {
  if (['error', 'warning'].includes(message.type())) errors.push(`${message.type()}: ${message.text()}`);
});
const network = await context.newCDPSession(page);
const requests = new Map();
network.on('Network.requestWillBeSent', ({ requestId, type, request }) => {
  requests.set(requestId, { type, method: request.method, url: request.url, status: null, headers: {} });
});
network.on('Network.responseReceived', ({ requestId, response }) => {
  const request = requests.get(requestId);
  if (request) Object.assign(request, { status: response.status, headers: response.headers });
});
await network.send('Network.enable');

const until = async (what, check) => {
  const deadline = Date.now() + 40_000;
  for (;;) {
    const value = await page.evaluate(check).catch(() => null);
    if (value) return value;
    if (Date.now() > deadline) {
      errors.push(`never: ${what}`);
      return null;
    }
    await page.waitForTimeout(50);
  }
};

await page.goto(url);
if (analytics) await until('analytics.js', 'window.analytics && window.analytics.initialized');
if (posthog) await until('posthog-js', 'window.posthog && window.posthog.__loaded');
const ids = () => page.evaluate(({ analytics, posthog }) => ({
  anonymous: analytics ? window.analytics.user().anonymousId() : null,
  user: analytics ? window.analytics.user().id() : null,
  distinct: posthog ? window.posthog.get_distinct_id() : null,
  device: posthog ? window.posthog.get_property('$device_id') : null,
  session: posthog ? window.posthog.get_session_id() : null,
}), { analytics, posthog });
const before = await ids();
let flag = null;
if (posthog) {
  await until('flags', 'window.posthog.isFeatureEnabled("beta") !== undefined');
  flag = await page.evaluate('window.posthog.isFeatureEnabled("beta")');
  await until('the recording', 'window.posthog.sessionRecordingStarted()');
  await page.evaluate('window.posthog.capture("direct")');
}
if (analytics) {
  await page.evaluate(async () => {
    await window.analytics.track('Bought', { price: 1 });
    await window.analytics.identify('u1', { plan: 'gold' });
    await window.analytics.group('g1', { seats: 3 });
  });
}
await page.click('#buy');
const after = await ids();
if (scenario === 'leave') {
  await page.evaluate(({ analytics, posthog }) => {
    if (analytics) window.analytics.track('Left');
    if (posthog) window.posthog.capture('left directly');
    window.location.href = '/plain';
  }, { analytics, posthog });
  await page.waitForURL('**/plain');
} else if (scenario === 'back') {
  await page.goto(new URL('/plain', url).href);
  // A restored page has no load event, which Playwright would wait for.
  await page.goBack({ waitUntil: 'commit', timeout: 10_000 }).catch(() => null);
  await page.waitForTimeout(500);
  await until('analytics.js after coming back', 'window.analytics && window.analytics.initialized');
  await page.evaluate(() => window.analytics.track('Came back'));
}
// Queues are sent every few seconds; recordings too.
await page.waitForTimeout(scenario === 'stay' ? 6000 : 2500);
const cached = scenario === 'back' ? await page.evaluate('window.fromCache === true') : null;
if (scenario !== 'leave') await page.goto('about:blank');
await page.waitForTimeout(1000);
await context.close();

// The browser's own log of everything that it asked for, itself included.
const log = fs.readFileSync(netlog, 'utf8');
const asked = [...new Set([...log.matchAll(/"url":"((?:https?|wss?):\/\/[^"]+)"/g)].map((match) => match[1]))];
fs.rmSync(folder, { recursive: true, force: true });
const list = [...requests.values()];
console.log(JSON.stringify({ requests: list, asked, errors, before, after, flag, cached }));
