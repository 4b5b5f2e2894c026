// Headless Chromium through Playwright, for visitor.mjs: {"executable": FILE, "map": the names that
// it finds, as --host-resolver-rules wants them, "clock": true if its pages' clock is to be moved}.
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { chromium } from 'playwright-core';
import { FLAGS, timeout } from './headless.mjs';

// As a flag too: Playwright's own way of saying it does not outlive the back-forward cache.
const userAgent = 'Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/143.0.0.0 Safari/537.36';

// A page's clock that is a while ahead of the real one, or behind it.
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
    // posthog-js takes headless browsers for robots and stays silent.
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
    // Preflights are only to be seen in the protocol below Playwright's.
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

  // Moves the clock of the pages that are open, and of those that will be.
  const moveClock = async (milliseconds) => {
    await context.addInitScript((by) => window.moveClock(by), milliseconds);
    for (const open of context.pages()) await open.evaluate((by) => window.moveClock?.(by), milliseconds);
  };
  const close = async () => {
    await context.close();
    // The browser's own log of everything that it asked for, itself included.
    const log = fs.readFileSync(netlog, 'utf8');
    const urls = [...log.matchAll(/"url":"((?:https?|wss?):\/\/[^"]+)"/g)].map((match) => match[1]);
    fs.rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
    return [...new Set(urls)];
  };
  // It ends by itself when the pipe to this process does.
  const kill = () => fs.rmSync(folder, { recursive: true, force: true });
  return { page, newPage, moveClock, seen: { requests, errors }, close, kill };
}
