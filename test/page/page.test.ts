import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { request } from 'node:http';
import { fileURLToPath } from 'node:url';
import type { Browser, Page } from 'playwright-core';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { type SimulatorPage, servePage } from '../../lib/page/index.ts';
import { settingsFrom, simulate } from '../../lib/simulate/index.ts';
import { launchChromium } from '../../local/setup/chromium.ts';
import { idemkit } from '../command/terminal.ts';

/** The simulator's page in a real browser. */
let browser: Browser;
let site: SimulatorPage;

const small = 'operations=1000';

beforeAll(async () => {
  [site, browser] = await Promise.all([servePage(), launchChromium()]);
}, 120_000);
afterAll(async () => {
  await browser?.close();
  await site?.close();
});
afterEach(async () => {
  await Promise.all(browser.contexts().map((context) => context.close()));
});

async function open(address = '', options: Parameters<Browser['newContext']>[0] = {}): Promise<Page> {
  const context = await browser.newContext({ locale: 'en-US', ...options });
  const page = await context.newPage();
  await page.goto(`${site.url}${address}`);
  await page.getByText(/^Played/).waitFor();
  return page;
}

const figure = (page: Page, lane: RegExp) => page.getByRole('region', { name: lane }).locator('.figure');
const cellsOf = (page: Page, name: string) =>
  page.getByRole('row', { name }).getByRole('cell').allTextContents();

describe('the page of the simulator', () => {
  test('shows what the simulator counts, with double charges in red', async () => {
    const page = await open(`#template=pay-button&${small}`);
    const { lanes } = await simulate(settingsFrom('pay-button', { operations: 1_000 }));
    const [without, guarded] = [lanes.without.metrics, lanes.with!.metrics];
    expect(without.doubleEffects).toBeGreaterThan(0);
    expect(await figure(page, /^Without/).textContent()).toBe(String(without.doubleEffects));
    expect(await figure(page, /^With idemkit/).textContent()).toBe(String(guarded.doubleEffects));
    expect(await cellsOf(page, 'duplicate_detection_rate')).toEqual([
      '–',
      `${guarded.duplicate_detection_rate?.toFixed(2)} %`,
    ]);
    const color = await page.evaluate("getComputedStyle(document.querySelector('.figure')).color");
    expect(color).toBe('rgb(179, 38, 30)');
  });

  test('asks nobody else for anything', async () => {
    const context = await browser.newContext({ locale: 'en-US' });
    const page = await context.newPage();
    const asked = new Set<string>();
    page.on('request', (sent) => asked.add(new URL(sent.url()).origin));
    await page.goto(`${site.url}#${small}`);
    await page.getByText(/^Played/).waitFor();
    expect([...asked].filter((origin) => origin !== 'null')).toEqual([new URL(site.url).origin]);
  });

  test('plays again for each change, and keeps it in the address', async () => {
    const page = await open(`#template=pay-button&${small}`);
    await page.getByLabel('How the handler is written').selectOption('committed');
    await expect.poll(() => figure(page, /^With idemkit, committed/).textContent()).toBe('0');
    await expect.poll(() => page.locator('#status').textContent()).toMatch(/^Played/);
    expect(new URLSearchParams(new URL(page.url()).hash.slice(1)).get('level')).toBe('committed');

    await page.getByLabel('How the handler is written').selectOption('none');
    await expect.poll(() => page.getByRole('region', { name: /^With idemkit/ }).count()).toBe(0);
  });

  test('follows a run in its charts while it runs, and stops on demand', async () => {
    const context = await browser.newContext({ locale: 'en-US' });
    const page = await context.newPage();
    await page.goto(`${site.url}#operations=200000`);
    const played = () => page.evaluate<number>("document.querySelector('#progress').value");
    await expect.poll(played).toBeGreaterThan(0);
    expect(await page.locator('#charts canvas').count()).toBe(4);
    await page.getByRole('button', { name: 'Stop' }).click();
    await page.getByText('Stopped.').waitFor();
    expect(await played()).toBeLessThan(1);
  });

  test('steps through the time line of an operation that was doubled, by keyboard', async () => {
    const page = await open(`#template=pay-button&${small}`);
    await page.getByRole('heading', { name: 'Why was it doubled?' }).waitFor();
    const current = page.locator('[aria-current=step]');
    const moment = page.locator('#moment');
    await page.locator('#time-lines').focus();
    const seen: (string | null)[] = [];
    for (let step = 0; step < 60 && !(await moment.textContent())?.includes('AGAIN'); step++) {
      seen.push(await moment.textContent());
      await page.keyboard.press('ArrowRight');
    }
    expect(await moment.textContent()).toMatch(/Without idemkit: at .* the customer is charged AGAIN/);
    expect(await current.textContent()).toContain('is charged AGAIN');
    expect(seen.some((text) => /the customer is charged · request/.test(text ?? ''))).toBe(true);
    await page.keyboard.press('Home');
    expect(await moment.textContent()).toMatch(/^1 of /);
    await page.getByRole('button', { name: 'Last' }).click();
    expect(await page.getByRole('button', { name: 'Next' }).isDisabled()).toBe(true);
  });

  test('is used by keyboard alone', async () => {
    const page = await open(`#template=pay-button&${small}`);
    await page.getByRole('radio', { name: 'Pay button' }).focus();
    await page.keyboard.press('ArrowRight');
    expect(await page.getByRole('radio', { name: 'Webhook receiver' }).isChecked()).toBe(true);
    expect(await page.locator('#description').textContent()).toContain('provider');
    const slider = page.getByLabel('Sent twice at once');
    const before = await slider.getAttribute('aria-valuetext');
    await slider.focus();
    await page.keyboard.press('ArrowRight');
    expect(await slider.getAttribute('aria-valuetext')).not.toBe(before);
  });

  test.each([
    ['a phone', { viewport: { width: 360, height: 740 }, isMobile: true, hasTouch: true }],
    ['a phone in the dark', { viewport: { width: 360, height: 740 }, colorScheme: 'dark' }],
  ] as const)('fits on %s', async (_, options) => {
    const page = await open(`#${small}`, options);
    const widths = await page.evaluate<number[]>(
      '[document.documentElement.scrollWidth, document.documentElement.clientWidth]',
    );
    expect(widths[0]).toBe(widths[1]);
    const tooLow = await page.locator('button, select, input[type=radio], summary').evaluateAll((all) =>
      all
        .filter((one) => one.getClientRects().length > 0)
        .map((one) => (one.closest('label') ?? one).getBoundingClientRect().height)
        .filter((height) => height < 32),
    );
    expect(tooLow).toEqual([]);
  });

  test('is dark in the dark', async () => {
    const page = await open(`#${small}`, { colorScheme: 'dark' });
    const color = await page.evaluate('getComputedStyle(document.body).backgroundColor');
    expect(color).toBe('rgb(20, 23, 28)');
  });

  test('passes over what an address says that is no setting', async () => {
    const page = await open(`#template=__proto__&constructor=1&maxAttempts=-1&seed=7&${small}`);
    expect(await page.locator('#seed').textContent()).toBe('7');
    expect(await page.getByRole('radio', { name: 'Pay button' }).isChecked()).toBe(true);
    expect(await page.getByLabel('An operation is sent at most').getAttribute('aria-valuetext')).toBe(
      '4 times',
    );
  });
});

describe('the server of the page', () => {
  const post = (body: string, headers: Record<string, string> = { 'content-type': 'application/json' }) =>
    fetch(`${site.url}runs`, { method: 'POST', body, headers });

  test('refuses a run that names a bad setting, and says which', async () => {
    const answer = await post(JSON.stringify({ ...settingsFrom('pay-button'), maxAttempts: 0 }));
    const [message] = (await answer.text())
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line));
    expect(message.kind).toBe('refused');
    expect(message.why).toContain('maxAttempts');
  });

  test('plays no more operations than a page can wait for', async () => {
    const answer = await post(JSON.stringify(settingsFrom('pay-button', { operations: 300_000 })));
    expect(await answer.text()).toContain('at most 200000 operations');
  });

  test.each([
    ['no JSON', '{', 400],
    ['no object', '1', 400],
    ['too much', `{"x":"${'x'.repeat(20_000)}"}`, 400],
  ])('refuses a body that is %s', async (_, body, status) => {
    expect((await post(body)).status).toBe(status);
  });

  test("refuses another site's form and another site's name", async () => {
    expect((await post('{}', { 'content-type': 'text/plain' })).status).toBe(415);
    const status = await new Promise((resolve, reject) => {
      const asked = request(site.url, { headers: { host: 'evil.example' } }, (answer) => {
        answer.resume();
        resolve(answer.statusCode);
      });
      asked.on('error', reject).end();
    });
    expect(status).toBe(421);
  });

  test('ends a run whose page has gone, and plays four at once', async () => {
    const long = JSON.stringify(settingsFrom('pay-button', { operations: 200_000 }));
    const short = JSON.stringify(settingsFrom('pay-button', { operations: 100 }));
    const gone = new AbortController();
    const headers = { 'content-type': 'application/json' };
    const pages = Array.from({ length: 4 }, () =>
      fetch(`${site.url}runs`, { method: 'POST', body: long, headers, signal: gone.signal }),
    );
    expect((await Promise.all(pages)).map(({ status }) => status)).toEqual([200, 200, 200, 200]);
    expect((await post(short)).status).toBe(429);
    gone.abort();
    await expect.poll(async () => (await post(short)).status).toBe(200);
  });
});

describe('idemkit simulate --page', () => {
  const command = fileURLToPath(new URL('../../bin/idemkit.ts', import.meta.url));

  test('serves the page until it is interrupted, with the run that was asked for in its address', async () => {
    const child = spawn(process.execPath, [command, 'simulate', 'webhook', '--seed=7', '--page']);
    const ended = once(child, 'exit');
    try {
      const [line] = (await once(child.stdout, 'data')) as [Buffer];
      const url = String(line).trim();
      expect(url).toMatch(/^http:\/\/127\.0\.0\.1:\d+\/#template=webhook&seed=7$/);
      expect(await (await fetch(url)).text()).toContain('What retries do to your traffic');
      child.kill('SIGINT');
      expect(await ended).toEqual([0, null]);
    } finally {
      child.kill('SIGKILL');
    }
  });

  test.each([
    [['--port=80'], '--port says where the page is served'],
    [['--page', '--json'], '--page and --json exclude each other'],
    [['--page', '--port=70000'], '--port to be a whole number from 0 to 65535'],
  ])('refuses %j', async (options, words) => {
    const { exitCode, error } = await idemkit('simulate', ...options);
    expect(exitCode).toBe(2);
    expect(error).toContain(words);
  });

  test('says that a port is taken', async () => {
    const { exitCode, error } = await idemkit('simulate', '--page', `--port=${new URL(site.url).port}`);
    expect({ exitCode, error }).toEqual({ exitCode: 2, error: expect.stringContaining('EADDRINUSE') });
  });
});
