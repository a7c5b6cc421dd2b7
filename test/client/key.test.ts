import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';

const startMs = Date.UTC(2026, 0, 1);
/** Of a module of its own: what it made last is a state of the process. */
let newIdempotencyKey: () => string;

beforeEach(async () => {
  vi.useFakeTimers({ toFake: ['Date'], now: startMs });
  await load();
});
afterEach(() => {
  vi.useRealTimers();
  vi.restoreAllMocks();
});

async function load(): Promise<void> {
  vi.resetModules();
  ({ newIdempotencyKey } = await import('../../lib/client.ts'));
}

const timestampOf = (key: string): number => Number.parseInt(key.replace('-', '').slice(0, 12), 16);

describe('newIdempotencyKey', () => {
  it('makes a UUID of version 7 and the RFC variant, with the time in milliseconds', () => {
    const seen = new Set<string>();
    for (let n = 0; n < 1000; n++) {
      vi.setSystemTime(startMs + n);
      const key = newIdempotencyKey();
      expect(key).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
      expect(timestampOf(key)).toBe(startMs + n);
      seen.add(key.charAt(19));
    }
    expect([...seen].sort()).toEqual(['8', '9', 'a', 'b']);
  });

  it('lays its bits out as the example of RFC 9562, appendix A.6', async () => {
    vi.setSystemTime(0x017f22e279b0);
    await load();
    // The example's rand_a has its top bit set, which a counter's first number here never has.
    const random = [0xfc, 0xc3, 0x18, 0xc4, 0xdc, 0x0c, 0x0c, 0x07, 0x39, 0x8f];
    vi.spyOn(crypto, 'getRandomValues').mockImplementation((array) => {
      (array as unknown as Uint8Array).set(random);
      return array;
    });
    expect(newIdempotencyKey()).toBe('017f22e2-79b0-74c3-98c4-dc0c0c07398f');
  });

  it('sorts after every earlier key, however many are made in one millisecond', () => {
    const keys = Array.from({ length: 20_000 }, newIdempotencyKey);
    expect(keys).toEqual([...keys].sort());
    expect(new Set(keys).size).toBe(keys.length);
  });

  it('sorts after every earlier key, wherever the clock steps', async () => {
    const steps = fc.array(
      fc.record({
        stepMs: fc.integer({ min: -10_000_000, max: 10_000 }),
        count: fc.integer({ min: 1, max: 5000 }),
      }),
      { maxLength: 12 },
    );
    await fc.assert(
      fc.asyncProperty(steps, async (moves) => {
        vi.setSystemTime(startMs);
        await load();
        let last = '';
        for (const { stepMs, count } of moves) {
          vi.setSystemTime(Date.now() + stepMs);
          for (let n = 0; n < count; n++) {
            const key = newIdempotencyKey();
            if (key <= last) throw new Error(`${key} is not after ${last}`);
            last = key;
          }
        }
      }),
      { numRuns: 15 },
    );
  });

  it('catches up with the clock again after it stepped back', () => {
    newIdempotencyKey();
    vi.setSystemTime(startMs - 3_600_000);
    expect(timestampOf(newIdempotencyKey())).toBe(startMs);
    vi.setSystemTime(startMs + 5);
    expect(timestampOf(newIdempotencyKey())).toBe(startMs + 5);
  });

  it('runs ahead of the clock by one millisecond for at least 2048 keys', () => {
    const keys = Array.from({ length: 20_000 }, newIdempotencyKey);
    expect(timestampOf(keys.at(-1) ?? '') - startMs).toBeLessThanOrEqual(Math.ceil(20_000 / 2048));
  });

  it('needs no `crypto.randomUUID`, which a page without TLS does not have', () => {
    vi.spyOn(crypto, 'randomUUID').mockImplementation(() => {
      throw new Error('not in an insecure context');
    });
    expect(newIdempotencyKey()).toHaveLength(36);
  });
});
