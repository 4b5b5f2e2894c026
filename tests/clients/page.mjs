// Controls a page in headless Chromium. One argument, JSON: {"chromium": FILE}. Each line of
// standard input is a JSON array with a command and its arguments; each gets one line as its
// answer: {"value": …} or {"error": …}. Ends when standard input closes.
import fs from 'node:fs';
import path from 'node:path';
import readline from 'node:readline';
import { launch, timeout, until } from './headless.mjs';

const { chromium: executablePath } = JSON.parse(process.argv[2]);
const browser = await launch(executablePath);
const context = await browser.newContext({ viewport: { width: 1280, height: 800 } });
const page = await context.newPage();
page.setDefaultTimeout(timeout);
const errors = [];
page.on('pageerror', (error) => errors.push(String(error)));
page.on('console', (message) => { if (message.type() === 'error') errors.push(`${message.text()} ${message.location().url}`); });

// Text with less contrast than WCAG's level AA asks for: 4.5 to 1, or 3 to 1 for large text.
function faint() {
  const canvas = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
  const rgba = (color) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = color;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const over = (top, below) => top.slice(0, 3).map((part, place) => part * (top[3] / 255) + below[place] * (1 - top[3] / 255));
  const ground = (element) => {
    const layers = [];
    for (let one = element; one; one = one.parentElement) {
      const color = rgba(getComputedStyle(one).backgroundColor);
      if (color[3]) layers.push(color);
      if (color[3] === 255) break;
    }
    return layers.reverse().reduce((below, top) => over(top, below), [255, 255, 255]);
  };
  const light = (color) => {
    const [r, g, b] = color.map((part) => (part / 255 <= 0.03928 ? part / 255 / 12.92 : ((part / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const found = new Map();
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const element = node.parentElement;
    if (!node.textContent.trim() || !element.checkVisibility({ visibilityProperty: true })) continue;
    if (element.closest('.out, .skip, script, [aria-hidden="true"]')) continue;
    const style = getComputedStyle(element);
    const below = ground(element);
    const [one, other] = [light(over(rgba(style.color), below)), light(below)].sort((a, b) => b - a);
    const ratio = (one + 0.05) / (other + 0.05);
    const size = parseFloat(style.fontSize);
    const large = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
    if (ratio < (large ? 3 : 4.5)) found.set(`${element.tagName}.${element.className}`, `${ratio.toFixed(2)} ${node.textContent.trim().slice(0, 40)}`);
  }
  return [...found].map(([where, what]) => `${where}: ${what}`);
}

const still = () => page.evaluate(() => new Promise((done) => { requestAnimationFrame(() => requestAnimationFrame(done)); }));

const commands = {
  open: (url) => page.goto(url).then(() => null),
  evaluate: (script) => page.evaluate(script),
  wait: (script) => until(page, script),
  click: (selector) => page.click(selector),
  fill: (selector, text) => page.fill(selector, text),
  choose: (selector, value) => page.selectOption(selector, value),
  press: (key) => page.keyboard.press(key),
  // Takes screenshots of the page, wide and narrow, light and dark, and reports the faults in each.
  async pictures(folder, name) {
    fs.mkdirSync(folder, { recursive: true });
    const amiss = [];
    for (const [width, height] of [[1280, 800], [390, 844]]) {
      for (const colorScheme of ['light', 'dark']) {
        await page.setViewportSize({ width, height });
        await page.emulateMedia({ colorScheme, reducedMotion: 'reduce' });
        await still();
        const what = `${name}-${width}-${colorScheme}`;
        await page.screenshot({ path: path.join(folder, `${what}.png`) });
        const broad = await page.evaluate(() => document.documentElement.scrollWidth);
        if (broad > width) amiss.push(`${what}: ${broad} wide`);
        amiss.push(...(await page.evaluate(faint)).map((one) => `${what}: ${one}`));
      }
    }
    await page.setViewportSize({ width: 1280, height: 800 });
    await page.emulateMedia({ colorScheme: 'light' });
    return amiss;
  },
  width: (width) => page.setViewportSize({ width, height: 844 }),
  errors: () => errors,
};

for await (const line of readline.createInterface({ input: process.stdin })) {
  const [command, ...given] = JSON.parse(line);
  let answer;
  try {
    answer = { value: (await commands[command](...given)) ?? null };
  } catch (error) {
    answer = { error: `${command} ${given.join(' ')}: ${error}` };
  }
  console.log(JSON.stringify(answer));
}
await browser.close();
