import type { Context } from 'aws-lambda';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { dynamoStore, type IdempotentOptions, idempotent, operation } from '../../lib/index.ts';
import { manualClock, memoryStore } from '../../lib/testing.ts';
import { observer } from '../support/hands.ts';
import { restEvent } from '../support/http-events.ts';
import { lambdaContext } from '../support/invocation.ts';
import { recordingStore } from '../support/recording-store.ts';
import { make, refusalOf } from './both-doors.ts';

afterEach(() => {
  vi.unstubAllEnvs();
  vi.restoreAllMocks();
});

describe('the time that an answer is kept', () => {
  const keptMs = async (options: IdempotentOptions = {}) => {
    const clock = manualClock();
    const store = recordingStore({ clock });
    await idempotent(async () => 'done', { store, key: () => 'k', ...options })({});
    return (await store.record()).endsAtMs - clock.now();
  };

  it('is the option, else IDEMPOTENCY_TTL_SECONDS, else a day', async () => {
    expect(await keptMs()).toBe(86_400_000);
    vi.stubEnv('IDEMPOTENCY_TTL_SECONDS', '');
    expect(await keptMs()).toBe(86_400_000);
    vi.stubEnv('IDEMPOTENCY_TTL_SECONDS', '60');
    expect(await keptMs()).toBe(60_000);
    expect(await keptMs({ ttlSeconds: 5 })).toBe(5_000);
  });

  it.each(['0', '-1', 'one day', '60s', ' ', 'NaN', 'Infinity', '1893456000000'])(
    'is refused when the guard is made where IDEMPOTENCY_TTL_SECONDS is %j',
    (text) => {
      vi.stubEnv('IDEMPOTENCY_TTL_SECONDS', text);
      expect(refusalOf({})).toBe(
        `Expected IDEMPOTENCY_TTL_SECONDS to be a number of seconds, more than 0, at most ten years, got ${JSON.stringify(text)} (string).`,
      );
      make({ ttlSeconds: 60 });
    },
  );
});

describe('a guard without a table', () => {
  it('can be made, and refuses its first call before anything else, with the fix', async () => {
    const work = vi.fn(async (_event: unknown) => 'done');
    const call = idempotent(work, { namespace: 'orders', key: () => 'k', whenStoreFails: 'run' });
    for (const event of [{}, restEvent()]) {
      await expect(call(event)).rejects.toMatchObject({
        code: 'BAD_OPTION',
        effect: 'none',
        message: expect.stringContaining('IDEMPOTENCY_TABLE'),
      });
    }
    expect(work).not.toHaveBeenCalled();
  });

  it('finds the table where the environment names it later', async () => {
    const call = idempotent(async () => 'done', { namespace: 'orders', key: () => 'k' });
    await expect(call({})).rejects.toMatchObject({ code: 'BAD_OPTION' });
    vi.stubEnv('IDEMPOTENCY_TABLE', 'idempotency');
    // Zero milliseconds left: the guard gives up after it has found its store, and before it calls it.
    await expect(call({}, lambdaContext(0))).rejects.toMatchObject({ code: 'NO_TIME_LEFT' });
  });
});

describe('IDEMPOTENCY_DISABLED', () => {
  const counted = async (lib: { idempotent: typeof idempotent }, options: IdempotentOptions = {}) => {
    const work = vi.fn(async (_event: unknown, context: Context) => operation(context).guarded);
    const call = lib.idempotent(work, { key: () => 'k', ...options });
    const guarded = [await call({}), await call({})];
    return { runs: work.mock.calls.length, guarded };
  };

  it.each(['true', '1'])(
    'set to %s runs handlers unguarded, without a table, and says so once',
    async (value) => {
      vi.stubEnv('IDEMPOTENCY_DISABLED', value);
      vi.resetModules();
      const warn = vi.spyOn(console, 'warn').mockImplementation(() => {});
      const lib = await import('../../lib/index.ts');
      const { seen, observe } = observer();

      expect(await counted(lib)).toEqual({ runs: 2, guarded: [false, false] });
      const store = recordingStore();
      expect(await counted(lib, { store, observe })).toEqual({ runs: 2, guarded: [false, false] });
      expect(store.calls).toEqual([]);
      expect(seen).toEqual([
        expect.objectContaining({ type: 'unguarded', reason: 'disabled' }),
        expect.objectContaining({ type: 'unguarded', reason: 'disabled' }),
      ]);
      expect(warn.mock.calls).toEqual([['[idemkit] IDEMPOTENCY_DISABLED is set: handlers run unguarded.']]);
    },
  );

  it.each(['', 'false', '0'])('set to %j leaves them guarded', async (value) => {
    vi.stubEnv('IDEMPOTENCY_DISABLED', value);
    const warn = vi.spyOn(console, 'warn').mockImplementation(() => {});
    expect(await counted({ idempotent }, { store: memoryStore() })).toEqual({
      runs: 1,
      guarded: [true, true],
    });
    expect(warn).not.toHaveBeenCalled();
  });

  it('needs no key, no tenant and no namespace', async () => {
    vi.stubEnv('IDEMPOTENCY_DISABLED', 'true');
    vi.spyOn(console, 'warn').mockImplementation(() => {});
    const never = (): never => {
      throw new Error('This was not to be asked.');
    };
    const store = dynamoStore({ tableName: 'idempotency' });
    const { runs } = await counted({ idempotent }, { store, key: never, tenant: never, fingerprint: never });
    expect(runs).toBe(2);
  });
});
