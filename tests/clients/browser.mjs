// Opens a page in headless Chromium and runs a scenario. One argument, JSON: {"chromium": FILE,
// "url": URL, "scenario": "stay" | "leave" | "shop" | "watch"}. Prints `done` after the scenario,
// stays until standard input closes, and then prints {"requests": […], "shown": […], "note": …,
// "errors": […]} in one line.
import { launch, timeout, until } from './headless.mjs';

const { chromium: executablePath, url, scenario } = JSON.parse(process.argv[2]);

const browser = await launch(executablePath);
const page = await (await browser.newContext()).newPage();
page.setDefaultTimeout(timeout);

const errors = [];
page.on('pageerror', (error) => errors.push(String(error)));
page.on('console', (message) => { if (message.type() === 'error') errors.push(message.text()); });

// Only the browser's own protocol reports preflights, not Playwright's.
const requests = new Map();
const network = await page.context().newCDPSession(page);
network.on('Network.requestWillBeSent', ({ requestId, type, request }) => {
  const { method, url, headers } = request;
  const authorized = Object.keys(headers).some((name) => name.toLowerCase() === 'authorization');
  requests.set(requestId, { type, method, url, authorized, status: null });
});
network.on('Network.responseReceived', ({ requestId, response }) => {
  const request = requests.get(requestId);
  if (request) request.status = response.status;
});
await network.send('Network.enable');
let answered = 0;
page.on('response', (response) => { if (response.url().includes('/hr/v1/')) answered += 1; });

await page.goto(url);
await until(page, 'window.analytics && (window.analytics.initialized || document.body.dataset.library === "fetch")');
await page.evaluate(() => window.calls);
if (scenario === 'leave') {
  await page.evaluate(() => {
    window.analytics.track('Left', { where: 'next.html' });
    window.location.href = '/next.html';
  });
  await page.waitForURL('**/next.html');
  await until(page, 'window.analytics && window.analytics.initialized');
} else if (scenario === 'shop' || scenario === 'watch') {
  const buttons = [
    '[data-product="HW-60"] [data-add]', '[data-checkout]', '[data-call="track"]', '[data-call="page"]',
    '[data-call="screen"]', '[data-call="group"]', '[data-call="alias"]', '[data-call="identify"]',
  ];
  // With pauses, as a person clicks: calls without a pause would all carry the id that the last
  // call sets.
  for (const [before, button] of buttons.entries()) {
    while (answered <= before) await page.waitForTimeout(20);
    await page.click(button);
  }
  if (scenario === 'watch') {
    // One event for the page and one for each button.
    await until(page, (all) => document.querySelectorAll('#list article').length >= all, buttons.length + 1);
  }
}
console.log('done');

for await (const _ of process.stdin);
// The events have arrived, perhaps without their answers yet. A closed page gets no answers.
const deadline = Date.now() + 60_000;
const waiting = () => [...requests.values()].some((request) => request.status === null);
while (scenario !== 'leave' && waiting() && Date.now() < deadline) await page.waitForTimeout(20);
const shown = await page.locator('#list article header b').allTextContents();
// Later than this, neither would appear.
const note = await page.evaluate(() => document.querySelector('#note:not([hidden])')?.textContent ?? null);
await browser.close();
console.log(JSON.stringify({ requests: [...requests.values()], shown, note, errors }));
