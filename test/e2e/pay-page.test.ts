import { existsSync } from 'node:fs';
import { type Browser, chromium, type Page } from 'playwright-core';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { type PayPage, startPayPage } from '../../local/pay-page.ts';
import { type PaymentProvider, startPaymentProvider } from '../../local/payment-provider.ts';
import { describeStage, payPagePath } from '../../local/scenarios.ts';
import { type Stack, startStack } from '../../local/stack.ts';
import { dynamodbEndpoint } from '../support/dynamodb.ts';
import { deferred } from '../support/hands.ts';

/** The page of `npm start -- --serve`, in a real browser, with the API on another origin. */
let browser: Browser;
let site: PayPage;
let provider: PaymentProvider;
let stack: Stack;
let page: Page;

beforeAll(async () => {
  const executablePath = process.env.CHROMIUM_PATH || '/usr/bin/chromium';
  if (!existsSync(executablePath)) {
    throw new Error(
      `There is no Chromium at ${executablePath}. Install it (Debian: apt-get install chromium), or name one in CHROMIUM_PATH.`,
    );
  }
  provider = await startPaymentProvider();
  site = await startPayPage(provider.charges);
  const description = describeStage({
    table: `pay-page-${process.pid}`,
    paymentsUrl: provider.url,
    unguarded: false,
    pageOrigin: site.url,
  });
  stack = await startStack(description, { dynamodbEndpoint: dynamodbEndpoint() });
  site.connect(`${stack.url}${payPagePath}`);
  const args = process.getuid?.() === 0 ? ['--no-sandbox'] : [];
  browser = await chromium.launch({ executablePath, args });
}, 90_000);
afterAll(async () => {
  await browser?.close();
  await stack?.stop();
  await site?.stop();
  await provider?.stop();
});
beforeEach(async () => {
  page = await browser.newPage();
  await page.goto(site.url);
  await pay().waitFor();
});
afterEach(async () => {
  provider.whenBooked(undefined);
  await page.context().close();
});

const pay = () => page.getByRole('button', { name: /^Pay/ });
const paid = () => page.getByText('Paid. Thank you').waitFor();

/** The table of requests: click, key, answer, replayed, Retry-After, charge. */
const requests = () =>
  page
    .locator('#requests tr')
    .evaluateAll((rows) =>
      rows.map((row) => [...row.querySelectorAll('td')].map((cell) => cell.textContent)),
    ) as Promise<string[][]>;
const answers = async () => (await requests()).map(([, , answer, replayed]) => `${answer} ${replayed}`);

const charges = async () => {
  const order = await page.locator('#order').textContent();
  return provider.charges.filter(({ customer }) => customer === `guest-${order}`).length;
};

describe('a double click on Pay', () => {
  test('charges once with a key: the second click is refused, asks again, and gets the first answer', async () => {
    const gate = deferred();
    provider.whenBooked(() => gate.promise);
    await pay().dblclick();
    await page.getByRole('cell', { name: '409', exact: true }).waitFor();
    gate.resolve();
    await paid();
    await page.getByRole('cell', { name: 'yes', exact: true }).waitFor({ timeout: 15_000 });
    expect((await answers()).sort()).toEqual(['201 no', '201 yes', '409 no']);
    const rows = await requests();
    // Readable across origins, in the refusal too.
    const refused = rows.find(([, , answer]) => answer === '409');
    expect(refused?.[4]).toMatch(/^[1-4] s$/);
    expect(new Set(rows.map(([, key]) => key)).size).toBe(1);
    expect(new Set(rows.map(([, , , , , charge]) => charge).filter(Boolean)).size).toBe(1);
    expect(await charges()).toBe(1);
  }, 40_000);

  test('charges twice without a key', async () => {
    await page.getByLabel('Send an idempotency key').uncheck();
    await pay().dblclick();
    await expect.poll(answers).toEqual(['201 no', '201 no']);
    expect((await requests()).map(([, key]) => key)).toEqual(['none', 'none']);
    expect(await charges()).toBe(2);
  });
});

describe('a network that loses an answer', () => {
  beforeEach(() => page.getByLabel('Flaky network').check());

  test('makes no second charge with a key: the repeat gets the answer that was lost', async () => {
    await pay().click();
    await paid();
    expect(await answers()).toEqual(['lost (201) ', '201 yes']);
    expect(await charges()).toBe(1);
  });

  test('makes a second charge without one', async () => {
    await page.getByLabel('Send an idempotency key').uncheck();
    await pay().click();
    await paid();
    expect(await answers()).toEqual(['lost (201) ', '201 no']);
    expect(await charges()).toBe(2);
  });
});

test('a reload in the middle of a payment keeps its key', async () => {
  const booked = deferred();
  const gate = deferred();
  provider.whenBooked(() => {
    booked.resolve();
    return gate.promise;
  });
  const order = await page.locator('#order').textContent();
  await pay().click();
  await booked.promise;
  await page.reload();
  await page.getByText('You have begun to pay this order').waitFor();
  expect(await page.locator('#order').textContent()).toBe(order);
  gate.resolve();
  await pay().click();
  await page.getByText('Paid. Thank you').waitFor({ timeout: 15_000 });
  expect((await answers()).at(-1)).toBe('201 yes');
  expect(await charges()).toBe(1);
}, 40_000);

test('the page and the API have origins of their own', async () => {
  const [pageOrigin, apiOrigin] = await Promise.all(
    ['page-origin', 'api-origin'].map((id) => page.locator(`#${id}`).textContent()),
  );
  expect(pageOrigin).toBe(new URL(site.url).origin);
  expect(apiOrigin).toBe(new URL(stack.url).origin);
  expect(apiOrigin).not.toBe(pageOrigin);
});
