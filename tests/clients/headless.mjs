// Headless Chromium through Playwright, for scripts that need only pages.
import { chromium } from 'playwright-core';

// Long enough for a busy machine.
export const timeout = 120_000;

export const FLAGS = [
  // Chromium's sandbox does not work for root, as which tests in containers often run.
  '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--disable-quic', '--no-first-run',
  '--disable-background-networking', '--disable-component-update', '--disable-sync',
];

export const launch = (executablePath) => chromium.launch({ executablePath, timeout, args: FLAGS });

// Waits until a script in the page returns a true value. This process repeats the question, because
// Playwright's `waitForFunction` evaluates code in the page, which a page's policy may forbid.
export async function until(page, script, given) {
  const deadline = Date.now() + timeout;
  // While one page unloads, the next one gets the question.
  const ask = () => page.evaluate(script, given).catch((error) => {
    if (!String(error).includes('context was destroyed')) throw error;
  });
  while (!await ask()) {
    if (Date.now() > deadline) throw new Error(`waited in vain: ${script}`);
    await page.waitForTimeout(20);
  }
}
