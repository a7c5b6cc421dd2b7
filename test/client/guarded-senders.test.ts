import { describe, expect, it } from 'vitest';
import { memoryStorage, numberedSender, overHttp, type SenderEvent } from '../../lib/client.ts';
import { memoryStore } from '../../lib/testing.ts';
import { deferred } from '../support/hands.ts';
import { numberedApi } from './numbered-api.ts';
import { retryingBench } from './retrying.ts';

const { serve } = retryingBench();

const senderTo = (origin: string, options: object = {}) => {
  const events: SenderEvent<unknown, Response>[] = [];
  const sender = numberedSender<unknown, Response>({
    producer: 'till-7',
    storage: memoryStorage(),
    send: overHttp(origin),
    baseDelayMs: 1,
    observe: (event) => events.push(event),
    ...options,
  });
  return { sender, events };
};

describe('a numbered sender with an API that idemkit guards', () => {
  it('has each message processed once, in order, though requests and answers are lost', async () => {
    const { work, payloads } = numberedApi();
    const { origin } = await serve(['drop', 'lose-answer', 'work', 'lose-answer', 'drop', 'work'], work);
    const { sender } = senderTo(origin);
    const sent = await Promise.all(['a', 'b', 'c'].map((payload) => sender.send(payload)));
    const answers = sent.map(async (one) => one.outcome === 'answered' && one.answer.text());
    expect(await Promise.all(answers)).toEqual(['did a', 'did b', 'did c']);
    expect(payloads()).toEqual(['a', 'b', 'c']);
  });

  it('gets the first answer in the next life, and begins a new epoch with the next message', async () => {
    const { work, payloads } = numberedApi();
    const { origin } = await serve(['lose-answer'], work);
    const storage = memoryStorage();
    const before = senderTo(origin, { storage, maxAttempts: 1 });
    expect(await before.sender.send('a')).toMatchObject({ outcome: 'queued' });
    const { sender, events } = senderTo(origin, { storage });
    expect(await sender.send('b')).toMatchObject({ outcome: 'answered', number: 0 });
    const settled = events.flatMap((event) => (event.type === 'settled' ? [event.sent] : []));
    expect(settled[0]).toMatchObject({ outcome: 'answered', answer: { status: 201 } });
    expect(payloads()).toEqual(['a', 'b']);
  });

  it.each(['problem', 'stripe'] as const)('stops when a newer one is at work, told as %s', async (errors) => {
    const { work, payloads } = numberedApi({ http: { errors } });
    const { origin } = await serve([], work);
    const older = senderTo(origin, { epoch: () => 1 });
    await older.sender.send('a');
    await senderTo(origin, { epoch: () => 2 }).sender.send('b');
    await expect(older.sender.send('c')).rejects.toMatchObject({ code: 'FENCED' });
    expect(payloads()).toEqual(['a', 'b']);
  });

  it.each(['problem', 'stripe'] as const)(
    'begins a new epoch when it is forgotten, told as %s',
    async (errors) => {
      const apis = [numberedApi({ http: { errors } }), numberedApi({ http: { errors } })];
      let now = 0;
      const { origin, received } = await serve([], (request) => apis[now]!.work(request));
      const { sender, events } = senderTo(origin, { epoch: () => 1 });
      await sender.send('a');
      now = 1;
      expect(await sender.send('b')).toMatchObject({ outcome: 'answered', epoch: 2, number: 0 });
      expect(events).toContainEqual({ type: 'epoch', epoch: 2, reason: 'gap' });
      expect(apis.map(({ payloads }) => payloads())).toEqual([['a'], ['b']]);
      expect(received).toHaveLength(3);
    },
  );

  it('fails a message whose number was used by a copy of it, which is fenced then', async () => {
    const { work, payloads } = numberedApi();
    const { origin } = await serve([], work);
    const [one, copy] = [senderTo(origin, { epoch: () => 1 }), senderTo(origin, { epoch: () => 1 })];
    await one.sender.send('a');
    const [b, c] = [copy.sender.send('b'), copy.sender.send('c')];
    await expect(b).rejects.toMatchObject({ code: 'PAYLOAD_MISMATCH' });
    expect(await c).toMatchObject({ outcome: 'answered', epoch: 2, number: 0 });
    await expect(one.sender.send('d')).rejects.toMatchObject({ code: 'FENCED' });
    expect(payloads()).toEqual(['a', 'c']);
  });

  it('takes a message for done whose answer the server keeps no longer', async () => {
    const { work, payloads } = numberedApi();
    const { origin } = await serve([], work);
    const saves: string[] = [];
    // From the third save on, a disk that lies.
    const storage = {
      load: () => saves[1],
      save: (state: string) => {
        saves.push(state);
      },
    };
    const all = ['a', 'b', 'c', 'd', 'e', 'f'];
    const { sender } = senderTo(origin, { storage });
    for (const payload of all) await sender.send(payload);
    const next = senderTo(origin, { storage });
    expect(await next.sender.queued()).toEqual(['a']);
    expect(await next.sender.resume()).toBe(0);
    expect(next.events).toContainEqual(
      expect.objectContaining({ type: 'settled', sent: expect.objectContaining({ outcome: 'done' }) }),
    );
    expect(payloads()).toEqual(all);
  });

  it('waits for a call that runs, and gets its answer', async () => {
    const running = deferred();
    const finish = deferred();
    const { work, payloads } = numberedApi({
      answer: async () => {
        running.resolve();
        await finish.promise;
        return { statusCode: 201, body: 'slow' };
      },
    });
    const { origin } = await serve([], work);
    const clock = {
      now: Date.now,
      after(ms: number, callback: () => void) {
        const timer = setTimeout(callback, ms > 10_000 ? ms : 0);
        return () => clearTimeout(timer);
      },
    };
    const storage = memoryStorage();
    const first = senderTo(origin, { storage, clock });
    const left = first.sender.send('a');
    await running.promise;
    await first.sender.pause();
    expect(await left).toMatchObject({ outcome: 'queued' });
    const { sender, events } = senderTo(origin, {
      ...{ storage, clock },
      observe: (event: SenderEvent<unknown, Response>) => {
        events.push(event);
        if (event.type === 'retry') finish.resolve();
      },
    });
    expect(await sender.resume()).toBe(0);
    expect(events).toContainEqual(
      expect.objectContaining({ type: 'retry', cause: expect.objectContaining({ status: 409 }) }),
    );
    expect(payloads()).toEqual(['a']);
  });

  it('goes on after a refusal that the API does not remember', async () => {
    const { work, payloads } = numberedApi({
      answer: async (payload) => ({ statusCode: payload === 'a' ? 409 : 201, body: '{"code":"SOLD_OUT"}' }),
    });
    const { origin } = await serve([], work);
    const { sender } = senderTo(origin);
    expect(await sender.send('a')).toMatchObject({ outcome: 'answered', answer: { status: 409 } });
    expect(await sender.send('b')).toMatchObject({ outcome: 'answered', answer: { status: 201 }, number: 0 });
    expect(payloads()).toEqual(['a', 'b']);
  });

  it('goes on after a refusal that the API remembers', async () => {
    const { work, payloads } = numberedApi({
      store: memoryStore(),
      answer: async (payload) => ({ statusCode: payload === 'a' ? 422 : 201, body: '' }),
    });
    const { origin } = await serve(['lose-answer'], work);
    const { sender } = senderTo(origin);
    expect(await sender.send('a')).toMatchObject({ outcome: 'answered', answer: { status: 422 } });
    expect(await sender.send('b')).toMatchObject({ outcome: 'answered', number: 1 });
    expect(payloads()).toEqual(['a', 'b']);
  });
});
