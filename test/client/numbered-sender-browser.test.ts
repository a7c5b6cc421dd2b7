import type { Page } from 'playwright-core';
import { describe, expect, it } from 'vitest';
import { browserStorage } from '../../lib/client.ts';
import { numberedApi } from './numbered-api.ts';
import { browserBench, type ClientWindow } from './site.ts';

const site = browserBench();

/** Sends payloads from a tab, one call each, all at once. Resolves to what became of them. */
const sendFrom = (tab: Page, origin: string, payloads: readonly unknown[]): Promise<string[]> =>
  tab.evaluate(
    async ([origin, payloads]) => {
      const { idemkit } = globalThis as ClientWindow;
      const sender = idemkit.numberedSender({
        producer: 'till-7',
        storage: idemkit.browserStorage('sales'),
        send: idemkit.overHttp(origin),
        baseDelayMs: 1,
      });
      const sent = await Promise.allSettled(payloads.map((payload) => sender.send(payload)));
      return sent.map((one) => (one.status === 'fulfilled' ? one.value.outcome : String(one.reason?.code)));
    },
    [origin, payloads] as const,
  );

describe('a numbered sender in a browser', () => {
  it('is one sender in two tabs: every message once, and those of a tab in their order', async () => {
    const { work, payloads } = numberedApi();
    const { origin } = await site.serve(
      ['lose-answer', 'work', 'drop', 'lose-answer', { status: 503 }],
      work,
    );
    const other = await site.openTab();
    const [ours, theirs] = ['ours', 'theirs'].map((name) =>
      Array.from({ length: 8 }, (_, at) => `${name} ${at}`),
    );
    const outcomes = await Promise.all([
      sendFrom(site.page, origin, ours ?? []),
      sendFrom(other, origin, theirs ?? []),
    ]);
    expect(outcomes.flat()).toEqual(Array(16).fill('answered'));
    expect(payloads().filter((payload) => ours?.includes(payload as string))).toEqual(ours);
    expect(payloads().filter((payload) => theirs?.includes(payload as string))).toEqual(theirs);
    expect(payloads()).toHaveLength(16);
  });

  it('sends after a reload what was in flight when the page was left, and does it once', async () => {
    const { work, payloads } = numberedApi();
    let arrivals = 0;
    const { origin } = await site.serve([], async (request) => {
      const answer = await work(request);
      return ++arrivals > 1 ? answer : new Promise(() => {});
    });
    const left = sendFrom(site.page, origin, ['a', 'b']).catch(() => 'gone');
    await expect.poll(payloads).toEqual(['a']);
    await site.page.reload();
    expect(await left).toBe('gone');
    expect(await sendFrom(site.page, origin, ['c'])).toEqual(['answered']);
    expect(payloads()).toEqual(['a', 'b', 'c']);
  });

  it('goes on in another tab when the one that was sending is closed', async () => {
    const { work, payloads } = numberedApi();
    const { origin, arrived } = await site.serve(['hang'], work);
    const closing = await site.openTab();
    const left = sendFrom(closing, origin, ['a']).catch(() => 'gone');
    await arrived(1);
    const sending = sendFrom(site.page, origin, ['b']);
    await closing.close();
    expect([await left, await sending]).toEqual(['gone', ['answered']]);
    expect(payloads()).toEqual(['a', 'b']);
  });

  it('does not take a message for which the browser has no room', async () => {
    const { work, payloads } = numberedApi();
    const { origin } = await site.serve([], work);
    const size = 6_000_000;
    expect(await sendFrom(site.page, origin, ['x'.repeat(size), 'small'])).toEqual([
      'STORAGE_FAILED',
      'STORAGE_FAILED',
    ]);
    expect(await sendFrom(site.page, origin, ['small'])).toEqual(['answered']);
    expect(payloads()).toEqual(['small']);
  });

  it('needs a page: elsewhere its storage is refused', () => {
    expect(() => browserStorage(' ')).toThrow(expect.objectContaining({ code: 'BAD_OPTION' }));
    expect(() => browserStorage('sales')).toThrow(expect.objectContaining({ code: 'UNSUPPORTED' }));
  });
});
