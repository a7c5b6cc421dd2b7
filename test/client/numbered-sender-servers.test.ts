import { beforeEach, describe, expect, it } from 'vitest';
import { IdempotencyError, numberedSender } from '../../lib/client.ts';
import { codeOf, type SenderBench, senderBench, startMs } from './senders.ts';

let bench: SenderBench;
beforeEach(() => {
  bench = senderBench();
});

/** The storage as two tabs share it. */
function sharedStorage() {
  let turn: Promise<unknown> = Promise.resolve();
  return {
    ...bench.storage,
    load: () => bench.storage.text,
    exclusively<T>(work: () => Promise<T>): Promise<T> {
      const mine = turn.then(work);
      turn = mine.catch(() => {});
      return mine;
    },
  };
}

const payloads = () => bench.server.done.map(({ payload }) => payload);

describe('a numbered sender whose server expects another number', () => {
  it('begins a new epoch with a message that was surely not processed', async () => {
    const sender = bench.sender();
    await sender.send('a');
    bench.server.forget();
    bench.timers.advance(10);
    expect(await sender.send('b')).toMatchObject({ outcome: 'answered', epoch: startMs + 10, number: 0 });
    expect(bench.events).toContainEqual({ type: 'epoch', epoch: startMs + 10, reason: 'gap' });
    expect(payloads()).toEqual(['a', 'b']);
  });

  it('begins a new epoch where the predecessor was refused before it was counted', async () => {
    const sender = bench.sender({ keepAcknowledged: 5 });
    bench.script({ outcome: 'answered', answer: '413', isRefusal: true });
    expect(await sender.send('a')).toMatchObject({ answer: '413' });
    expect(await sender.send('b')).toMatchObject({ outcome: 'answered', number: 0 });
    expect(payloads()).toEqual(['b']);
  });

  const inDoubt = async (whenInDoubt?: 'resend' | 'drop') => {
    const sender = bench.sender({ maxAttempts: 1, ...(whenInDoubt && { whenInDoubt }) });
    await sender.send('a');
    bench.script('lose-answer');
    await sender.send('b');
    bench.server.forget();
    return sender;
  };

  it('keeps a message that may have been processed, and asks', async () => {
    const sender = await inDoubt();
    expect(await sender.send('c')).toMatchObject({ outcome: 'queued', cause: { code: 'OUTCOME_UNKNOWN' } });
    expect(await sender.queued()).toEqual(['b', 'c']);
    expect(payloads()).toEqual(['a', 'b']);
  });

  it('takes a message of an earlier life for one that may have been processed', async () => {
    await inDoubt();
    const next = bench.sender();
    expect(await next.send('c')).toMatchObject({ outcome: 'queued', cause: { code: 'OUTCOME_UNKNOWN' } });
    expect(await bench.sender({ whenInDoubt: 'drop' }).resume()).toBe(0);
    expect(payloads()).toEqual(['a', 'b', 'c']);
  });

  it('sends it again where that is wanted', async () => {
    await (await inDoubt('resend')).send('c');
    expect(payloads()).toEqual(['a', 'b', 'b', 'c']);
  });

  it('drops it where that is wanted, and says so', async () => {
    await (await inDoubt('drop')).send('c');
    expect(payloads()).toEqual(['a', 'b', 'c']);
    expect(bench.events).toContainEqual(
      expect.objectContaining({
        type: 'settled',
        payload: 'b',
        sent: { outcome: 'failed', error: expect.objectContaining({ code: 'OUTCOME_UNKNOWN' }) },
      }),
    );
  });

  it('sends again, with their numbers, the acknowledged messages that the server has lost', async () => {
    const sender = bench.sender({ keepAcknowledged: 3 });
    for (const payload of ['a', 'b', 'c', 'd']) await sender.send(payload);
    bench.server.restore(2);
    expect(await sender.send('e')).toMatchObject({ number: 4 });
    expect(payloads()).toEqual(['a', 'b', 'c', 'd', 'e']);
    expect(bench.attempts.slice(4)).toEqual(['0:4 "e"', '0:2 "c"', '0:3 "d"', '0:4 "e"']);
    expect(bench.events).toContainEqual({ type: 'resend', epoch: startMs, number: 2 });
    expect(bench.events.filter(({ type }) => type === 'settled')).toHaveLength(5);
  });

  it('begins a new epoch where it no longer holds all of them', async () => {
    const sender = bench.sender({ keepAcknowledged: 1 });
    for (const payload of ['a', 'b', 'c']) await sender.send(payload);
    bench.server.restore(1);
    bench.timers.advance(10);
    expect(await sender.send('d')).toMatchObject({ epoch: startMs + 10, number: 0 });
    expect(payloads()).toEqual(['a', 'd']);
  });

  it('does not send the same for ever to a server that acknowledges without counting', async () => {
    const gap = { outcome: 'gap', expectedNumber: 0 } as const;
    const lies = { outcome: 'answered', answer: '' } as const;
    bench.script(lies, gap, lies, gap, lies);
    const sender = bench.sender({ keepAcknowledged: 5 });
    await sender.send('a');
    expect(await sender.send('b')).toMatchObject({ outcome: 'answered', number: 0 });
    expect(bench.attempts).toEqual(['0:0 "a"', '0:1 "b"', '0:0 "a"', '0:1 "b"', '1:0 "b"']);
  });

  it('takes a message for done where a later number is expected', async () => {
    bench.script({ outcome: 'gap', expectedNumber: 1 });
    expect(await bench.sender().send('a')).toEqual({ outcome: 'done', epoch: startMs, number: 0 });
  });

  it('asks again where the server expects this number, but is not ready for it', async () => {
    bench.script({ outcome: 'gap', expectedNumber: 0, retryAfterMs: 1000 });
    expect(await bench.sender().send('a')).toMatchObject({ outcome: 'answered', number: 0 });
    expect(bench.attempts).toEqual(['0:0 "a"', '0:0 "a"']);
  });
});

describe('a numbered sender that is not alone', () => {
  it('stops for ever when a newer one of the same producer is at work', async () => {
    const old = bench.sender();
    await old.send('a');
    bench.timers.advance(10);
    const copy = { ...bench.storage, text: undefined, load: () => undefined, save: () => {} };
    await bench.sender({ storage: copy }).send('b');

    const late = [old.send('c'), old.send('d')];
    expect(await Promise.all(late.map(codeOf))).toEqual(['FENCED', 'FENCED']);
    const attempts = bench.attempts.length;
    expect(await codeOf(old.send('e'))).toBe('FENCED');
    expect(await codeOf(old.enqueue('e'))).toBe('FENCED');
    expect(await codeOf(old.resume())).toBe('FENCED');
    expect(bench.attempts).toHaveLength(attempts);
    expect(await old.queued()).toEqual(['c', 'd']);
    expect(bench.events.at(-1)?.type).toBe('fenced');
    expect(payloads()).toEqual(['a', 'b']);
  });

  it('stops when the storage says that somebody else has it', async () => {
    let isTaken = false;
    const sender = bench.sender({
      storage: {
        ...bench.storage,
        save(text) {
          if (isTaken) throw new IdempotencyError('FENCED', 'Taken.');
          bench.storage.text = text;
        },
      },
    });
    await sender.send('a');
    isTaken = true;
    expect(await codeOf(sender.send('b'))).toBe('FENCED');
    expect(await codeOf(sender.send('c'))).toBe('FENCED');
    expect(payloads()).toEqual(['a']);
  });

  it('fails a message whose number was used for another one, and goes on in a new epoch', async () => {
    bench.script('work', { outcome: 'mismatch' });
    const sender = bench.sender();
    await sender.send('a');
    bench.timers.advance(10);
    const [b, c] = [sender.send('b'), sender.send('c')];
    expect(await codeOf(b)).toBe('PAYLOAD_MISMATCH');
    expect(await c).toMatchObject({ epoch: startMs + 10, number: 0 });
    expect(payloads()).toEqual(['a', 'c']);
  });

  it('takes turns with others on a storage that they share', async () => {
    const storage = sharedStorage();
    const [one, other] = [bench.sender({ storage, maxAttempts: 2 }), bench.sender({ storage })];
    bench.script('lose-answer', 'drop');
    const sent = await Promise.all([one.send('a'), other.send('b'), one.send('c'), other.send('d')]);
    expect(sent.map(({ outcome }) => outcome)).toEqual(['queued', 'answered', 'queued', 'answered']);
    expect(await one.send('e')).toMatchObject({ outcome: 'answered' });
    expect(payloads()).toEqual(['a', 'c', 'b', 'd', 'e']);
  });

  it('takes a message again once another one has emptied the queue that was full', async () => {
    const storage = sharedStorage();
    const one = bench.sender({ storage, maxQueued: 1, maxAttempts: 1 });
    bench.script('drop');
    await one.send('a');
    expect(await bench.sender({ storage }).resume()).toBe(0);
    expect(await one.send('b')).toMatchObject({ outcome: 'answered' });
    expect(payloads()).toEqual(['a', 'b']);
  });

  it('lets the others have their turn though it has always more to send', async () => {
    const storage = sharedStorage();
    let enqueued = 0;
    let hasStopped = false;
    const busy = bench.sender({
      storage,
      observe: ({ type }) => {
        if (type !== 'settled' || hasStopped || enqueued === 50) return;
        bench.timers.advance(10_000);
        void busy.enqueue(`busy ${++enqueued}`);
      },
    });
    await busy.enqueue('busy 0');
    expect(await bench.sender({ storage }).send('other')).toMatchObject({ outcome: 'answered' });
    hasStopped = true;
    expect(await busy.resume()).toBe(0);
    expect(payloads().indexOf('other')).toBe(6);
    expect(payloads().filter((payload) => payload !== 'other')).toEqual(
      Array.from({ length: enqueued + 1 }, (_, at) => `busy ${at}`),
    );
  });

  it('takes no message where the lock of a shared storage cannot be had', async () => {
    const exclusively = () => Promise.reject(new Error('no locks'));
    const sender = bench.sender({ storage: { ...bench.storage, exclusively } });
    expect(await codeOf(sender.send('a'))).toBe('STORAGE_FAILED');
    expect(await codeOf(sender.send('a'))).toBe('STORAGE_FAILED');
  });
});

describe('what a numbered sender refuses', () => {
  const cycle: unknown[] = [];
  cycle.push(cycle);
  it.each([
    ['nothing', undefined],
    ['a function', { amount: () => {} }],
    ['a bigint', { amount: 1n }],
    ['NaN', [Number.NaN]],
    ['a cycle', cycle],
    ['a Map', { items: new Map() }],
    ['bytes', new Uint8Array(3)],
  ])('a payload that is or holds %s', async (_, payload) => {
    const sender = bench.sender();
    expect(await codeOf(sender.send(payload))).toBe('BAD_PAYLOAD');
    expect([bench.storage.text, bench.attempts]).toEqual([undefined, []]);
  });

  it.each([
    [{ producer: '' }, 'BAD_KEY', /`producer`/],
    [{ producer: 'tïll' }, 'BAD_KEY', /`producer`/],
    [{ producer: 'x'.repeat(256) }, 'BAD_KEY', /`producer`/],
    [{ producer: undefined }, 'BAD_KEY', /`producer`/],
    [{ storage: {} }, 'BAD_OPTION', /`storage`.*`load` and `save`/],
    [{ storage: undefined }, 'BAD_OPTION', /`storage`/],
    [{ send: undefined }, 'BAD_OPTION', /`send`/],
    [{ maxQueued: 0 }, 'BAD_OPTION', /`maxQueued`.*1 to 100000/],
    [{ keepAcknowledged: 1001 }, 'BAD_OPTION', /`keepAcknowledged`.*0 to 1000/],
    [{ whenInDoubt: 'ask' }, 'BAD_OPTION', /`whenInDoubt`.*'stop'/],
    [{ epoch: 3 }, 'BAD_OPTION', /`epoch`.*function/],
    [{ observe: true }, 'BAD_OPTION', /`observe`.*function/],
    [{ maxAttempts: 0 }, 'BAD_OPTION', /`maxAttempts`/],
    [{ baseDelayMs: 5000, maxDelayMs: 1000 }, 'BAD_OPTION', /`baseDelayMs`.*`maxDelayMs`/],
    [{ maxQueue: 3 }, 'BAD_OPTION', /`maxQueue`.*`maxQueued`/],
  ])('the options %o', (options, code, message) => {
    const make = () =>
      numberedSender({
        ...{ producer: 'till-7', storage: bench.storage, send: () => ({ outcome: 'done' }) },
        ...(options as object),
      });
    expect(make).toThrow(expect.objectContaining({ code, message: expect.stringMatching(message) }));
  });

  it('nothing because of an observer that throws', async () => {
    const observe = () => {
      throw new Error('observer');
    };
    expect(await bench.sender({ observe }).send('a')).toMatchObject({ outcome: 'answered' });
  });
});
