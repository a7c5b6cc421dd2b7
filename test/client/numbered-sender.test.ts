import { beforeEach, describe, expect, it } from 'vitest';
import { numberedSender } from '../../lib/client.ts';
import { deferred } from '../support/hands.ts';
import { codeOf, type Message, type SenderBench, senderBench, startMs } from './senders.ts';

let bench: SenderBench;
beforeEach(() => {
  bench = senderBench();
});

const payloads = () => bench.server.done.map(({ payload }) => payload);
const typesOf = () => bench.events.map((event) => event.type);

describe('a numbered sender', () => {
  it('numbers its messages from 0 and gives each the answer to it', async () => {
    const sender = bench.sender();
    expect(await sender.send('a')).toEqual({
      outcome: 'answered',
      answer: 'answer 0',
      epoch: startMs,
      number: 0,
    });
    expect(await sender.send('b')).toMatchObject({ answer: 'answer 1', number: 1 });
    expect(bench.attempts).toEqual(['0:0 "a"', '0:1 "b"']);
  });

  it('sends one message after the other, in the order in which they were given', async () => {
    const sender = bench.sender();
    bench.script('drop', 'lose-answer', 'work', 'lose-answer');
    const sent = await Promise.all(['a', 'b', 'c'].map((payload) => sender.send(payload)));
    expect(sent.map((one) => 'answer' in one && one.answer)).toEqual(['answer 0', 'answer 1', 'answer 2']);
    expect(bench.attempts).toEqual(['0:0 "a"', '0:0 "a"', '0:0 "a"', '0:1 "b"', '0:1 "b"', '0:2 "c"']);
    expect(payloads()).toEqual(['a', 'b', 'c']);
  });

  it('gives `send` the same message each time, whatever was done to it', async () => {
    const seen: Message[] = [];
    const sender = bench.sender({
      send: (message) => {
        seen.push(structuredClone({ ...message, signal: undefined }) as never);
        (message.payload as string[]).push('changed');
        return seen.length < 2 ? { outcome: 'unanswered' } : { outcome: 'answered', answer: '' };
      },
    });
    const payload = ['as it was'];
    const sending = sender.send(payload);
    payload.push('too late');
    await sending;
    const first = { producer: 'till-7', epoch: startMs, number: 0, payload: ['as it was'], attempt: 1 };
    expect(seen).toEqual([first, { ...first, attempt: 2 }]);
  });

  it('saves a message before it is first sent, and its answer before the next one is', async () => {
    const log: string[] = [];
    const { storage } = bench;
    const sender = bench.sender({
      storage: {
        load: storage.load,
        async save(text) {
          await Promise.resolve();
          storage.text = text;
          const { numbered, queue } = JSON.parse(text);
          log.push(`saved ${[...numbered.map((one: Message) => `#${one.number}`), ...queue]}`);
        },
      },
      send: ({ number }) => {
        log.push(`sent ${number}`);
        return { outcome: 'answered', answer: '' };
      },
    });
    await Promise.all([sender.send('a'), sender.send('b')]);
    expect(log).toEqual(['saved ', 'saved #0,"b"', 'sent 0', 'saved #1', 'sent 1', 'saved ']);
  });

  it('waits as long as the server says, and a random time more', async () => {
    bench.script({ outcome: 'unanswered', retryAfterMs: 7000, cause: 'busy' });
    await bench.sender().send('a');
    expect(bench.events).toContainEqual({
      ...{ type: 'retry', epoch: startMs, number: 0, attempt: 1, delayMs: 7125, cause: 'busy' },
    });
  });

  it('takes an attempt that does not end for one without an answer', async () => {
    bench.script('hang');
    const sending = bench.sender({ attemptTimeoutMs: 5000 }).send('a');
    await expect.poll(() => bench.attempts.length).toBe(1);
    bench.timers.advance(5000);
    expect(await sending).toMatchObject({ outcome: 'answered' });
    expect(bench.attempts).toEqual(['0:0 "a"', '0:0 "a"']);
    expect(bench.events).toContainEqual(
      expect.objectContaining({ type: 'retry', cause: expect.objectContaining({ limit: 'attempt' }) }),
    );
  });
});

describe('a numbered sender without a network', () => {
  it('keeps what it could not send, and says so', async () => {
    const sender = bench.sender({ maxAttempts: 2 });
    bench.script('drop', 'drop');
    const sent = await Promise.all([sender.send('a'), sender.send('b')]);
    expect(sent).toEqual(Array(2).fill({ outcome: 'queued', cause: new TypeError('network') }));
    expect(bench.attempts).toEqual(['0:0 "a"', '0:0 "a"']);
    expect(await sender.queued()).toEqual(['a', 'b']);
    expect(typesOf()).toEqual(['epoch', 'retry', 'paused']);
  });

  it('sends what it kept with the next message', async () => {
    const sender = bench.sender({ maxAttempts: 1 });
    bench.script('lose-answer');
    await sender.send('a');
    expect(await sender.send('b')).toMatchObject({ outcome: 'answered', number: 1 });
    expect(payloads()).toEqual(['a', 'b']);
  });

  it('sends what it kept when it is told to, and says how much is left', async () => {
    const sender = bench.sender({ maxAttempts: 1 });
    bench.script('drop', 'work', 'drop');
    await sender.send('a');
    await sender.enqueue('b');
    expect(await sender.resume()).toBe(1);
    expect(await sender.resume()).toBe(0);
    expect(payloads()).toEqual(['a', 'b']);
    expect(bench.events).toContainEqual(
      expect.objectContaining({
        type: 'settled',
        payload: 'a',
        sent: expect.objectContaining({ number: 0 }),
      }),
    );
  });

  it('stops before a wait that would pass the deadline', async () => {
    bench.script({ outcome: 'unanswered', retryAfterMs: 60_000 });
    expect(await bench.sender().send('a')).toMatchObject({ outcome: 'queued' });
    expect(bench.attempts).toHaveLength(1);
  });

  it('pauses at once when the server does not accept it', async () => {
    bench.script({ outcome: 'not-accepted', cause: 'no credentials' });
    const sender = bench.sender();
    expect(await sender.send('a')).toEqual({ outcome: 'queued', cause: 'no credentials' });
    expect(await sender.resume()).toBe(0);
    expect(payloads()).toEqual(['a']);
  });

  it('pauses when `send` returns nothing', async () => {
    const sender = bench.sender({ send: (() => undefined) as never });
    const sent = await sender.send('a');
    expect(sent).toMatchObject({ outcome: 'queued', cause: { code: 'BAD_OPTION' } });
  });

  it('takes messages while it waits, and saves them at once', async () => {
    bench.script('hang');
    const sender = bench.sender();
    const first = sender.send('a');
    await expect.poll(() => bench.attempts.length).toBe(1);
    await sender.enqueue('b');
    expect(JSON.parse(bench.storage.text ?? '').queue).toEqual(['"b"']);
    await sender.pause();
    expect(await first).toMatchObject({ outcome: 'queued', cause: { name: 'AbortError' } });
    expect(await sender.resume()).toBe(0);
    expect(payloads()).toEqual(['a', 'b']);
  });

  it('ends a wait when it is paused', async () => {
    bench.script({ outcome: 'unanswered', retryAfterMs: 50_000 });
    const waiting = deferred();
    const { timers } = bench;
    const sender = numberedSender({
      producer: 'till-7',
      storage: bench.storage,
      clock: timers,
      send: () => ({ outcome: 'unanswered', retryAfterMs: 50_000 }),
      observe: ({ type }) => type === 'retry' && waiting.resolve(),
    });
    const sending = sender.send('a');
    await waiting.promise;
    await sender.pause();
    expect(await sending).toMatchObject({ outcome: 'queued' });
    expect(timers.pending).toBe(0);
  });

  it('refuses more messages than it may hold', async () => {
    const sender = bench.sender({ maxQueued: 2, maxAttempts: 1 });
    bench.script('drop', 'drop');
    await Promise.all([sender.send('a'), sender.send('b')]);
    expect(await codeOf(sender.send('c'))).toBe('QUEUE_FULL');
    expect(await codeOf(sender.enqueue('c'))).toBe('QUEUE_FULL');
    await sender.resume();
    await sender.resume();
    expect(await sender.send('c')).toMatchObject({ number: 2 });
    expect(payloads()).toEqual(['a', 'b', 'c']);
  });
});

describe('the next life of a numbered sender', () => {
  it('sends again what was in flight, with its number, and begins a new epoch with the rest', async () => {
    bench.script('lose-answer');
    const before = bench.sender({ maxAttempts: 1 });
    await Promise.all([before.send('a'), before.send('b')]);
    bench.timers.advance(10);
    const after = bench.sender();
    expect(await after.send('c')).toMatchObject({ epoch: startMs + 10, number: 1 });
    expect(bench.attempts).toEqual(['0:0 "a"', '0:0 "a"', '10:0 "b"', '10:1 "c"']);
    expect(payloads()).toEqual(['a', 'b', 'c']);
  });

  it('begins a higher epoch though the clock was set back', async () => {
    await bench.sender().send('a');
    const behind = { ...bench.timers, now: () => 5 };
    expect(await bench.sender({ clock: behind }).send('b')).toMatchObject({ epoch: startMs + 1, number: 0 });
    expect(payloads()).toEqual(['a', 'b']);
  });

  it('asks for an epoch where it is told how', async () => {
    let starts = 3;
    const epoch = () => starts++;
    expect(await bench.sender({ epoch }).send('a')).toMatchObject({ epoch: 3 });
    bench.storage.text = undefined;
    expect(await bench.sender({ epoch }).send('b')).toMatchObject({ epoch: 4, number: 0 });
  });

  it.each([[-1], [1.5], [1e15], [undefined]])(
    'refuses %s for an epoch, before anything is sent',
    async (epoch) => {
      expect(await codeOf(bench.sender({ epoch: () => epoch as number }).send('a'))).toBe('BAD_OPTION');
      expect(bench.attempts).toEqual([]);
    },
  );

  it('loses no message when its state is rolled back: it sends no other payload with a used number', async () => {
    await bench.sender().send('a');
    const backup = bench.storage.text;
    await bench.sender().send('b');
    bench.storage.text = backup;
    bench.timers.advance(10);
    expect(await bench.sender().send('c')).toMatchObject({ outcome: 'answered' });
    expect(payloads()).toEqual(['a', 'b', 'c']);
  });

  it.each([
    ['nothing', undefined, 'no-state'],
    ['half of it', '{"version":1,"producer":"till-7","epo', 'bad-state'],
    ['another text', '"idemkit"', 'bad-state'],
    ['a message that is not JSON', stateWith({ queue: ['{"amount":'] }), 'bad-state'],
    ['a number that is none', stateWith({ next: -1 }), 'bad-state'],
    ['a message without its number', stateWith({ numbered: [{ epoch: 1, payload: '1' }] }), 'bad-state'],
  ])('begins a new epoch where %s is left of the state', async (_, text, reason) => {
    await bench.sender().send('a');
    bench.storage.text = text;
    bench.timers.advance(10);
    expect(await bench.sender().send('b')).toMatchObject({ epoch: startMs + 10, number: 0 });
    expect(bench.events).toContainEqual({ type: 'epoch', epoch: startMs + 10, reason });
    expect(payloads()).toEqual(['a', 'b']);
  });

  it.each([
    ['of another producer', stateWith({ producer: 'till-8' }), 'BAD_OPTION'],
    ['of a later version', stateWith({ version: 2 }), 'STORAGE_FAILED'],
    ['that is no text', { version: 1 }, 'STORAGE_FAILED'],
  ])('leaves a state %s as it is', async (_, text, code) => {
    bench.storage.text = text as string;
    const sender = bench.sender();
    expect(await codeOf(sender.send('a'))).toBe(code);
    expect(await codeOf(sender.resume())).toBe(code);
    expect(await codeOf(sender.queued())).toBe(code);
    expect([bench.storage.text, bench.attempts]).toEqual([text, []]);
  });
});

function stateWith(part: object): string {
  const state = { version: 1, producer: 'till-7', epoch: startMs, next: 1, numbered: [], queue: [] };
  return JSON.stringify({ ...state, acknowledged: [], ...part });
}

describe('a storage that fails', () => {
  const broken = new Error('disk');
  const failing = (verb: 'load' | 'save', isBroken: () => boolean) => ({
    ...bench.storage,
    [verb]: async (text: string) => {
      if (isBroken()) throw broken;
      return verb === 'load' ? bench.storage.load() : bench.storage.save(text);
    },
  });

  it.each(['load', 'save'] as const)('keeps a message from being sent: %s', async (verb) => {
    let isBroken = true;
    const sender = bench.sender({ storage: failing(verb, () => isBroken) });
    await expect(sender.send('a')).rejects.toMatchObject({ code: 'STORAGE_FAILED', cause: broken });
    expect(await codeOf(sender.resume())).toBe('STORAGE_FAILED');
    expect(bench.attempts).toEqual([]);
    isBroken = false;
    expect(await sender.send('b')).toMatchObject({ outcome: 'answered', number: 0 });
    expect(payloads()).toEqual(['b']);
  });

  it('does not take a message that could not be saved, and goes on with the others', async () => {
    let isBroken = false;
    const sender = bench.sender({ storage: failing('save', () => isBroken) });
    await sender.send('a');
    isBroken = true;
    expect(await codeOf(sender.send('b'))).toBe('STORAGE_FAILED');
    isBroken = false;
    expect(await sender.send('c')).toMatchObject({ number: 1 });
    expect(payloads()).toEqual(['a', 'c']);
  });

  it('gives an answer though it could not be saved that there is one', async () => {
    let isBroken = false;
    const sender = bench.sender({
      storage: failing('save', () => isBroken),
      send: () => {
        isBroken = true;
        return { outcome: 'answered', answer: 'yes' };
      },
    });
    const [a, b] = await Promise.all([sender.send('a'), sender.send('b')]);
    expect(a).toMatchObject({ outcome: 'answered', answer: 'yes' });
    expect(b).toMatchObject({ outcome: 'queued', cause: { code: 'STORAGE_FAILED' } });
    expect(await bench.sender().resume()).toBe(0);
    expect(payloads()).toEqual(['a', 'b']);
  });
});
