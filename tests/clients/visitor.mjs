// A visitor with one page or several, told line by line what to do. One argument, JSON: {"browser": "chromium"
// or "firefox", …}, the rest of it is for that browser's own file. Each line of standard input is a
// JSON object with one order of those below; after each comes one line of JSON, {"value": …} or
// {"error": …}. When the input ends, the visitor leaves the page, and what was seen is printed:
// {"requests": […], "asked": […], "errors": […]}.
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
  // Runs a script in the page and waits for what it promises.
  run: async (script) => await page.evaluate(script) ?? null,
  // Runs it again and again, until it gives something that counts as true.
  until: async (script) => {
    const deadline = Date.now() + PATIENCE;
    for (;;) {
      // While a page goes and the next one comes, there is none to ask.
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
  // A page that was kept has no load event, which the browser's driver would wait for.
  back: async () => {
    await page.evaluate('void setTimeout(() => history.back())');
    return null;
  },
  // Goes on in another tab, a new one if there is none of this number.
  tab: async (number) => {
    tabs[number] ??= await browser.newPage();
    page = tabs[number];
    return null;
  },
  // How many milliseconds the clock of the pages is ahead of the real one.
  clock: async (milliseconds) => {
    await browser.moveClock(milliseconds);
    return null;
  },
  seen: async () => seen,
};

const input = createInterface({ input: process.stdin });
// The answer is not waited for any more: the test has failed, and no browser may outlive it.
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
// A pipe takes a long line in pieces.
process.stdout.write(`${JSON.stringify({ ...seen, asked })}\n`, () => process.exit(0));
