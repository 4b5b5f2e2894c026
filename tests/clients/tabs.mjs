// Controls tabs of one headless Chromium. One argument, JSON: {"chromium": FILE}. Each line of
// standard input is JSON: {"tab": 0, "open": URL} opens a tab or loads another page in it, {"tab":
// 0, "run": SCRIPT} runs a script in it and waits for its promise. Each line gets one line of JSON:
// {"value": …} or {"error": …}. Ends when standard input closes.
import { createInterface } from 'node:readline';
import { launch, timeout } from './headless.mjs';

const { chromium: executablePath } = JSON.parse(process.argv[2]);
const browser = await launch(executablePath);
// The tabs of one context share cookies and storage, as those of one visitor do.
const context = await browser.newContext();
context.setDefaultTimeout(timeout);
const tabs = [];

async function obey({ tab, open, run }) {
  tabs[tab] ??= await context.newPage();
  if (open !== undefined) {
    await tabs[tab].goto(open);
    await tabs[tab].waitForFunction('window.analytics && window.analytics.initialized');
    return null;
  }
  return await tabs[tab].evaluate(run) ?? null;
}

for await (const line of createInterface({ input: process.stdin })) {
  const answer = await obey(JSON.parse(line)).then((value) => ({ value }), (error) => ({ error: String(error) }));
  console.log(JSON.stringify(answer));
}
await browser.close();
