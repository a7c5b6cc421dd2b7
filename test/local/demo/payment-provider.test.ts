import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Charge } from '../../../examples/payment-provider.ts';
import { type PayPage, startPayPage } from '../../../local/demo/pay-page.ts';
import { type PaymentProvider, startPaymentProvider } from '../../../local/demo/payment-provider.ts';

describe('the list of booked charges', () => {
  let provider: PaymentProvider;
  let page: PayPage;

  beforeAll(async () => {
    provider = await startPaymentProvider();
    page = await startPayPage(provider.charges);
    for (const customer of ['scenario', 'visitor', 'other', 'visitor']) {
      await fetch(new URL('/charges', provider.url), {
        method: 'POST',
        body: JSON.stringify({ customer, amount: 1, currency: 'EUR' }),
      });
    }
  });

  afterAll(async () => {
    await page?.stop();
    await provider?.stop();
  });

  const customersAt = async (base: string, query = ''): Promise<string[]> => {
    const response = await fetch(new URL(`/charges${query}`, base));
    return ((await response.json()) as Charge[]).map(({ customer }) => customer);
  };

  it('has the latest charge first', async () => {
    expect(await customersAt(provider.url)).toEqual(['visitor', 'other', 'visitor', 'scenario']);
    expect(provider.charges.map(({ customer }) => customer)).toEqual([
      ...['scenario', 'visitor', 'other', 'visitor'],
    ]);
  });

  it('is of one customer where one is asked for', async () => {
    for (const { url } of [provider, page]) {
      expect(await customersAt(url, '?customer=visitor')).toEqual(['visitor', 'visitor']);
      expect(await customersAt(url, '?customer=nobody')).toEqual([]);
    }
  });

  it('is complete on the page where no customer is asked for', async () => {
    expect(await customersAt(page.url)).toEqual(await customersAt(provider.url));
  });
});
