// Headless Chromium through Playwright, for visitor.mjs: {"executable": FILE, "map": rules for
// --host-resolver-rules, "clock": true if the test moves the pages' clock}.
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { chromium } from 'playwright-core';
import { FLAGS, timeout } from './headless.mjs';

// As a flag too, because Playwright's own option is lost when a page comes back from the
// back-forward cache.
const userAgent = 'Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/143.0.0.0 Safari/537.36';

// Moves the page's clock ahead of the real one, or behind it.
function moveable() {
  const Real = Date;
  let ahead = 0;
  window.moveClock = (milliseconds) => { ahead = milliseconds; };
  window.Date = class extends Real {
    constructor(...given) {
      if (given.length) super(...given);
      else super(Real.now() + ahead);
    }

    static now() {
      return Real.now() + ahead;
    }
  };
}

export async function launch({ executable, map, clock }) {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'first-party-'));
  const netlog = path.join(folder, 'net.json');
  const context = await chromium.launchPersistentContext(path.join(folder, 'profile'), {
    executablePath: executable,
    headless: true,
    timeout,
    ignoreDefaultArgs: ['--disable-back-forward-cache'],
    // posthog-js would take a headless browser for a bot and send nothing.
    userAgent,
    args: [
      ...FLAGS, `--user-agent=${userAgent}`, '--disable-blink-features=AutomationControlled',
      `--host-resolver-rules=${map}`, `--log-net-log=${netlog}`,
    ],
  });
  context.setDefaultTimeout(timeout);
  await context.addInitScript(() => addEventListener('pageshow', (event) => { window.fromCache = event.persisted; }));
  if (clock) await context.addInitScript(moveable);

  const requests = [];
  const errors = [];
  const newPage = async () => {
    const page = await context.newPage();
    page.on('pageerror', (error) => errors.push(`page: ${error}`));
    page.on('console', (message) => {
      if (['error', 'warning'].includes(message.type())) errors.push(`${message.type()}: ${message.text()}`);
    });
    // Only the browser's own protocol reports preflights, not Playwright's.
    const network = await context.newCDPSession(page);
    const open = new Map();
    network.on('Network.requestWillBeSent', ({ requestId, type, request }) => {
      const one = { type, method: request.method, url: request.url, status: null, headers: {} };
      open.set(requestId, one);
      requests.push(one);
    });
    network.on('Network.responseReceived', ({ requestId, response }) => {
      const one = open.get(requestId);
      if (one) Object.assign(one, { status: response.status, headers: response.headers });
    });
    await network.send('Network.enable');
    return page;
  };
  const page = await newPage();

  // Moves the clock of all open pages and of later ones.
  const moveClock = async (milliseconds) => {
    await context.addInitScript((by) => window.moveClock(by), milliseconds);
    for (const open of context.pages()) await open.evaluate((by) => window.moveClock?.(by), milliseconds);
  };
  const close = async () => {
    await context.close();
    // The browser's log of all its requests, those of the browser itself included.
    const log = fs.readFileSync(netlog, 'utf8');
    const urls = [...log.matchAll(/"url":"((?:https?|wss?):\/\/[^"]+)"/g)].map((match) => match[1]);
    fs.rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
    return [...new Set(urls)];
  };
  // Chromium ends when the pipe to this process closes.
  const kill = () => fs.rmSync(folder, { recursive: true, force: true });
  return { page, newPage, moveClock, seen: { requests, errors }, close, kill };
}
