// What every walk needs: Debian's Chromium with a fresh profile, and watchers for everything that must never happen
// (console errors, policy violations, foreign requests), plus pictures and axe.
import assert from 'node:assert/strict';
import { mkdirSync } from 'node:fs';
import AxeBuilder from '@axe-core/playwright';
import { chromium } from 'playwright-core';

const RESULTS = new URL('../test-results/', import.meta.url).pathname;
mkdirSync(RESULTS, { recursive: true });

export const DESK = { width: 1366, height: 850 };
export const PHONE = { width: 390, height: 844 };
/** What a page of 1280 px becomes at 400 % (WCAG 1.4.10). */
const NARROW = { width: 320, height: 640 };

const FLAGS = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];

export function setting(name) {
  const value = process.env[name];
  assert.ok(value, `${name} is not set`);
  return value;
}

/** A browser with one page; `faults` fills with what must stay empty. */
export async function open(origin) {
  const browser = await chromium.launch({
    executablePath: process.env.CHROMIUM || '/usr/bin/chromium',
    args: FLAGS,
  });
  // The server's certificate is its own authority's, which this fresh profile does not know.
  const context = await browser.newContext({ ignoreHTTPSErrors: true, viewport: DESK, locale: 'en-GB' });
  const page = await context.newPage();
  const faults = [];
  page.on('console', (message) => {
    if (message.type() === 'error') faults.push(`console: ${message.text()} ${message.location().url}`);
  });
  page.on('pageerror', (error) => faults.push(`page: ${error.stack}`));
  page.on('request', (request) => {
    const url = new URL(request.url());
    if (url.origin !== origin && url.protocol !== 'blob:') faults.push(`foreign request: ${url}`);
  });
  await page.addInitScript(() => {
    document.addEventListener('securitypolicyviolation', (event) => {
      console.error(`policy: ${event.effectiveDirective} refused ${event.blockedURI}`);
    });
  });
  return { browser, page, faults };
}

export async function picture(page, name) {
  await page.screenshot({ path: `${RESULTS}${name}.png` });
}

const RULES = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'];

/** Sets a size, keeps a picture, and refuses a page that scrolls sideways. */
async function look(page, viewport, where) {
  await page.setViewportSize(viewport);
  // Two frames: one for the observers of size, one for what they caused.
  await page.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))));
  await picture(page, where);
  const sideways = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
  assert.ok(sideways <= 0, `${where}: ${sideways} px wider than the screen`);
}

/** Whether what is chosen, or where one is, looks different from its neighbours in forced colours. */
async function chosenShows(page, where) {
  const alike = await page.evaluate(() => {
    const looks = (element) => {
      const style = getComputedStyle(element);
      return `${style.backgroundColor} ${style.textDecorationLine} ${style.fontWeight}`;
    };
    return [...document.querySelectorAll('[data-selected], nav [aria-current=page]')]
      .filter((chosen) => {
        const other = [...chosen.parentElement.children].find((one) => one !== chosen);
        return other && looks(other) === looks(chosen);
      })
      .map((chosen) => chosen.textContent);
  });
  assert.deepEqual(alike, [], `${where}: not seen as chosen`);
}

/** Looks at one page in light and dark on a desk and on a phone, at 320 px, and in forced colours. */
export async function inspect(page, name) {
  for (const colorScheme of ['light', 'dark']) {
    await page.emulateMedia({ colorScheme });
    for (const viewport of [DESK, PHONE]) {
      const where = `${name}-${viewport.width}-${colorScheme}`;
      await look(page, viewport, where);
      const { violations } = await new AxeBuilder({ page }).withTags(RULES).analyze();
      const found = violations.map(
        ({ id, nodes }) => `${id}: ${nodes.map((node) => node.html).join('\n    ')}`,
      );
      assert.deepEqual(found, [], `${where}: axe found\n  ${found.join('\n  ')}`);
    }
  }
  await page.emulateMedia({ colorScheme: 'light', forcedColors: 'active' });
  await look(page, NARROW, `${name}-${NARROW.width}-forced`);
  await chosenShows(page, `${name}, forced colours`);
  await page.emulateMedia({ colorScheme: 'light', forcedColors: 'none' });
  await look(page, NARROW, `${name}-${NARROW.width}-light`);
  await page.setViewportSize(DESK);
}

/** How many pixels of the chart have the colour of the series; read from the canvas itself. */
export function seriesPixels(page) {
  return page.evaluate(() => {
    const canvas = document.querySelector('.chart canvas');
    const hex = getComputedStyle(document.documentElement).getPropertyValue('--series-1').trim();
    const value = Number.parseInt(hex.slice(1), 16);
    const [r, g, b] = [value >> 16, (value >> 8) & 255, value & 255];
    const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
    let found = 0;
    for (let i = 0; i < data.length; i += 4) {
      if (Math.abs(data[i] - r) + Math.abs(data[i + 1] - g) + Math.abs(data[i + 2] - b) < 12) found += 1;
    }
    return found;
  });
}

/** Waits until `read` gives something that `good` accepts. */
export async function until(what, read, good, limitMs = 30_000) {
  const end = performance.now() + limitMs;
  let seen;
  while (performance.now() < end) {
    seen = await read();
    if (good(seen)) return seen;
    await new Promise((done) => setTimeout(done, 200));
  }
  assert.fail(`${what}: still ${JSON.stringify(seen)} after ${limitMs / 1_000} s`);
}
