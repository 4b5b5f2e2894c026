// A headless Chromium through Playwright, for the scripts that need no more than its pages.
import { chromium } from 'playwright-core';

// For machines that are busy with something else.
export const timeout = 120_000;

export const FLAGS = [
  // Chromium's own sandbox does not work for root, which tests in containers often are.
  '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--disable-quic', '--no-first-run',
  '--disable-background-networking', '--disable-component-update', '--disable-sync',
];

export const launch = (executablePath) => chromium.launch({ executablePath, timeout, args: FLAGS });

// Waits until a script in the page gives something that counts as true. Asked again from here: Playwright's
// own waiting evaluates in the page, and where the first look comes too early, a page whose policy forbids
// that fails it.
export async function until(page, script, given) {
  const deadline = Date.now() + timeout;
  // A page that is just being left is asked again as the next one.
  const ask = () => page.evaluate(script, given).catch((error) => {
    if (!String(error).includes('context was destroyed')) throw error;
  });
  while (!await ask()) {
    if (Date.now() > deadline) throw new Error(`waited in vain: ${script}`);
    await page.waitForTimeout(20);
  }
}
