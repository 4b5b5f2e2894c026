// Plays a visitor with one or more pages. One argument, JSON: {"browser": "chromium" or "firefox",
// …}; that browser's own file documents the rest. Each line of standard input is a JSON object with
// one of the commands below; each gets one line of JSON, {"value": …} or {"error": …}. When the
// input closes, the visitor leaves the page, and the script prints {"requests": […], "asked": […],
// "errors": […]}.
import { createInterface } from 'node:readline';

const options = JSON.parse(process.argv[2]);
const { launch } = await import(`./${options.browser}.mjs`);
const browser = await launch(options);
const { seen, close, kill } = browser;
const tabs = [browser.page];
let [page] = tabs;

const PATIENCE = 60_000;
const sleep = (milliseconds) => new Promise((done) => { setTimeout(done, milliseconds); });

const orders = {
  open: async (url) => {
    await page.goto(url);
    return null;
  },
  // Runs a script in the page and waits for its promise.
  run: async (script) => await page.evaluate(script) ?? null,
  // Runs a script repeatedly until it returns a true value.
  until: async (script) => {
    const deadline = Date.now() + PATIENCE;
    for (;;) {
      // Between two pages there is no page to ask.
      const value = await page.evaluate(script).catch(() => null);
      if (value) return value;
      if (Date.now() > deadline) throw new Error(`waited in vain; seen: ${JSON.stringify(seen)}`);
      await sleep(25);
    }
  },
  click: async (selector) => {
    await page.click(selector);
    return null;
  },
  // A page from the back-forward cache has no load event, for which the driver would wait.
  back: async () => {
    await page.evaluate('void setTimeout(() => history.back())');
    return null;
  },
  // Continues in another tab; opens one if this number has none.
  tab: async (number) => {
    tabs[number] ??= await browser.newPage();
    page = tabs[number];
    return null;
  },
  // Sets the pages' clock ahead by so many milliseconds.
  clock: async (milliseconds) => {
    await browser.moveClock(milliseconds);
    return null;
  },
  seen: async () => seen,
};

const input = createInterface({ input: process.stdin });
// Nothing reads the answer any more: the test has failed, and the browser must end.
let busy = false;
input.on('close', () => {
  if (busy) {
    kill();
    process.exit(1);
  }
});

console.log(JSON.stringify({ value: 'here' }));
for await (const line of input) {
  busy = true;
  const [[name, argument]] = Object.entries(JSON.parse(line));
  const answer = await orders[name](argument).then((value) => ({ value }), (error) => ({ error: String(error) }));
  busy = false;
  console.log(JSON.stringify(answer));
}
for (const tab of tabs) await tab.goto('about:blank').catch(() => null);
const asked = await close();
// A pipe delivers a long line in pieces.
process.stdout.write(`${JSON.stringify({ ...seen, asked })}\n`, () => process.exit(0));
