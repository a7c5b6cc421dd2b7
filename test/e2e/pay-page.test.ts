import { randomUUID } from 'node:crypto';
import type { Browser, Page } from 'playwright-core';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { type Demo, startDemo } from '../../local/demo/demo.ts';
import { type PayPage, startPayPage } from '../../local/demo/pay-page.ts';
import { type PaymentProvider, startPaymentProvider } from '../../local/demo/payment-provider.ts';
import { launchChromium } from '../../local/setup/chromium.ts';
import { dynamodbEndpoint } from '../support/dynamodb.ts';
import { deferred } from '../support/hands.ts';

/** The page of `npm start -- --serve`, in a real browser, with the API on another origin. */
let browser: Browser;
let site: PayPage;
let provider: PaymentProvider;
let demo: Demo;
let page: Page;

beforeAll(async () => {
  provider = await startPaymentProvider();
  site = await startPayPage(provider.charges);
  demo = await startDemo({
    ...{ name: randomUUID(), provider, pageOrigin: site.url, lanes: 0 },
    // Longer than a busy machine takes to start a second process while the first one's charge is held.
    overrides: { PayPage: { timeoutSeconds: 20 } },
    dynamodbEndpoint: dynamodbEndpoint(),
  });
  site.connect(`${demo.stack.url}${demo.payPagePath}`);
  browser = await launchChromium();
}, 120_000);
afterAll(async () => {
  await browser?.close();
  await demo?.stop();
  await site?.stop();
  await provider?.stop();
});
beforeEach(async () => {
  page = await browser.newPage();
  await page.clock.install();
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

/** What the page says of it. */
const shownCharges = async () => (await page.locator('#tally p').innerText()).replaceAll(/\s+/g, ' ');

const payPage = () => demo.stack.function(demo.stage.functions.PayPage ?? '');
const busy = () => payPage().sandboxes.filter((sandbox) => sandbox.busy).length;

describe('a double click on Pay', () => {
  test('ends with the first answer as soon as the payment is made', async () => {
    const gate = deferred();
    provider.whenBooked(() => gate.promise);
    await pay().dblclick();
    await expect.poll(busy).toBe(2);
    gate.resolve();
    await paid();
    await expect.poll(async () => (await answers()).sort()).toEqual(['201 no', '201 yes']);
    expect(new Set((await requests()).map(([, key, , , , charge]) => `${key} ${charge}`)).size).toBe(1);
    expect(await charges()).toBe(1);
  });

  test('charges once where the payment takes long, and the refused second click asks again', async () => {
    const gate = deferred();
    provider.whenBooked(() => gate.promise);
    await pay().dblclick();
    await page.getByRole('cell', { name: /^asks again in/ }).waitFor();
    gate.resolve();
    await paid();
    const [paidFor, refused] = (await requests()).sort((one, other) =>
      (one[2] ?? '').localeCompare(other[2] ?? ''),
    );
    expect(paidFor?.slice(2, 5)).toEqual(['201', 'no', '']);
    // Readable across origins, though no inner middleware has seen this answer.
    expect(refused?.slice(2, 5)).toEqual(['409', 'no', '5 s']);

    await page.clock.fastForward(25_000);
    await page.getByRole('cell', { name: 'yes', exact: true }).waitFor();
    expect((await answers()).sort()).toEqual(['201 no', '201 yes', '409 no']);
    const rows = await requests();
    expect(new Set(rows.map(([, key]) => key)).size).toBe(1);
    expect(new Set(rows.map(([, , , , , charge]) => charge).filter(Boolean)).size).toBe(1);
    expect(await charges()).toBe(1);
    expect(await shownCharges()).toBe('1 charge for this order');
  });

  test('charges twice without a key', async () => {
    const both = deferred();
    let booked = 0;
    provider.whenBooked(() => {
      if (++booked === 2) both.resolve();
      return both.promise;
    });
    await page.getByLabel('Send an idempotency key').uncheck();
    await pay().dblclick();
    await expect.poll(answers).toEqual(['201 no', '201 no']);
    expect((await requests()).map(([, key]) => key)).toEqual(['none', 'none']);
    expect(await charges()).toBe(2);
    await expect.poll(shownCharges).toBe('2 charges for this order');
  });
});

describe('a network that loses an answer', () => {
  beforeEach(() => page.getByLabel('Flaky network').check());

  test('makes no second charge with a key, and the repeat gets the lost answer', async () => {
    await pay().click();
    await paid();
    expect(await answers()).toEqual(['lost (201) ', '201 yes']);
    expect(await charges()).toBe(1);
  });

  test('makes a second charge without a key', async () => {
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
  const [[, key] = []] = await requests();
  await page.reload();
  await page.getByText('You have begun to pay this order').waitFor();
  expect(await page.locator('#order').textContent()).toBe(order);
  gate.resolve();
  await expect.poll(busy).toBe(0);
  await pay().click();
  await paid();
  expect(await answers()).toEqual(['201 yes']);
  expect((await requests())[0]?.[1]).toBe(key);
  expect(await charges()).toBe(1);
});

test('the next order has a key of its own', async () => {
  await pay().click();
  await paid();
  const [[, key] = []] = await requests();
  const order = await page.locator('#order').textContent();
  await page.getByRole('button', { name: 'Next order' }).click();
  await pay().click();
  await paid();
  expect(await answers()).toEqual(['201 no']);
  expect((await requests())[0]?.[1]).not.toBe(key);
  expect(await page.locator('#order').textContent()).not.toBe(order);
  expect(await charges()).toBe(1);
});

interface Widths {
  readonly scrollWidth: number;
  readonly clientWidth: number;
}

/** What the tests ask of an element. The types of the DOM are not here. */
interface PageElement extends Widths {
  readonly ownerDocument: {
    readonly defaultView: {
      getComputedStyle(element: PageElement, pseudoElement: string): { readonly content: string };
    };
  };
}

describe.each([320, 390])('on a phone of %i pixels', (width) => {
  test('shows each request whole, each value with its name', async () => {
    await page.setViewportSize({ width, height: 740 });
    const gate = deferred();
    provider.whenBooked(() => gate.promise);
    await pay().dblclick();
    await page.getByRole('cell', { name: /asks again in/ }).waitFor();
    gate.resolve();
    await paid();
    await page.clock.fastForward(25_000);
    await expect.poll(async () => (await answers()).sort()).toEqual(['201 no', '201 yes', '409 no']);

    const widthOf = (selector: string): Promise<Widths> =>
      page.locator(selector).evaluate((element) => {
        const { scrollWidth, clientWidth } = element as unknown as PageElement;
        return { scrollWidth, clientWidth };
      });
    expect((await widthOf('html')).scrollWidth).toBe(width);
    const table = await widthOf('.scroll');
    expect(table.scrollWidth).toBe(table.clientWidth);
    // Nothing is cut off, and nothing is told by its column alone.
    const cells = await page.locator('#requests td:not(:empty)').evaluateAll((all) =>
      (all as unknown as PageElement[]).map((cell) => ({
        isInside: cell.scrollWidth <= cell.clientWidth,
        label: cell.ownerDocument.defaultView.getComputedStyle(cell, '::before').content,
      })),
    );
    expect(cells.filter(({ isInside }) => !isInside)).toEqual([]);
    expect(new Set(cells.map(({ label }) => label))).toEqual(
      new Set(
        ['Click', 'Key', 'Answer', 'Replayed', 'Retry-After', 'Charge', 'Then'].map((name) => `"${name}"`),
      ),
    );
    expect(await page.getByRole('row').count()).toBe(4);
  });
});

describe('the pay page on another origin than the API', () => {
  const url = () => `${demo.stack.url}/payments`;
  const post = (from: Page, key?: string, amount = 4200) =>
    from.evaluate(
      async ({ url, key, amount }) => {
        const response = await fetch(url, {
          method: 'POST',
          headers: { 'Content-Type': 'application/json', ...(key && { 'Idempotency-Key': key }) },
          body: JSON.stringify({ customer: 'ada', amount, currency: 'EUR' }),
        });
        const { code } = (await response.json()) as { code?: string };
        return [response.status, response.headers.get('Idempotent-Replayed'), code];
      },
      { url: url(), key, amount },
    );

  test('has an origin of its own', async () => {
    const [pageOrigin, apiOrigin] = await Promise.all(
      ['page-origin', 'api-origin'].map((id) => page.locator(`#${id}`).textContent()),
    );
    expect(pageOrigin).toBe(new URL(site.url).origin);
    expect(apiOrigin).toBe(new URL(demo.stack.url).origin);
    expect(apiOrigin).not.toBe(pageOrigin);
  });

  test("reads the handler's answers and the guard's own", async () => {
    expect(await post(page)).toEqual([400, null, 'MISSING_KEY']);
    const key = `key-${process.pid}`;
    expect(await post(page, key)).toEqual([201, null, undefined]);
    expect(await post(page, key)).toEqual([201, 'true', undefined]);
    expect(await post(page, key, 4300)).toEqual([422, null, 'PAYLOAD_MISMATCH']);
  });

  test('is the only origin that can pay', async () => {
    const other = await startPayPage([]);
    try {
      await page.goto(other.url);
      const before = provider.charges.length;
      await expect(post(page, 'stolen')).rejects.toThrow('Failed to fetch');
      expect(provider.charges.length).toBe(before);
    } finally {
      await other.stop();
    }
  });
});
