import fc from 'fast-check';
import { expect, it } from 'vitest';
import { type Delivery, type NumberedSender, numberedSender, type SequenceNumber } from '../../lib/client.ts';
import { deferred } from '../support/hands.ts';
import { manualTimers } from './manual-timers.ts';
import { sequenceServer } from './sequence-server.ts';

/** What happens at a save or at an attempt. A crash comes before it has an effect, or after. */
const fault = fc.record({
  kind: fc.constantFrom('none', 'none', 'none', 'lost-request', 'lost-answer', 'crash-before', 'crash-after'),
  /** A request that was sent before arrives once more, ahead of this one. */
  late: fc.option(fc.nat(1000), { freq: 3 }),
});
const world = fc.record({
  messages: fc.integer({ min: 1, max: 6 }),
  faults: fc.array(fault, { maxLength: 40 }),
  /** Whether the application waits for an answer before its next message. */
  waits: fc.boolean(),
  /** How far the clock is, at each start of the sender, from where it was at the one before. */
  clockSteps: fc.array(fc.integer({ min: -5, max: 5 }), { maxLength: 10 }),
  keepAcknowledged: fc.nat(2),
});

type World = typeof world extends fc.Arbitrary<infer Value> ? Value : never;

/** The lives of one sender on one storage, which ends at each crash. */
function lives({ faults, clockSteps, keepAcknowledged }: World) {
  const server = sequenceServer();
  const sent: { place: SequenceNumber; payload: unknown }[] = [];
  const coming = [...faults];
  const steps = [...clockSteps];
  let text: string | undefined;
  let nowMs = 1000;

  function live() {
    const crashed = deferred();
    let isDead = false;
    const crash = (): Promise<never> => {
      isDead = true;
      crashed.resolve();
      return new Promise(() => {});
    };
    const never = new Promise<never>(() => {});
    nowMs += steps.shift() ?? 0;
    const timers = manualTimers(nowMs);

    const sender = numberedSender<unknown, string>({
      ...{ producer: 'till-7', keepAcknowledged, clock: timers, random: () => 0 },
      storage: {
        load: () => text,
        async save(state) {
          if (isDead) return never;
          const { kind } = coming.shift() ?? { kind: 'none' };
          if (kind === 'crash-before') return crash();
          text = state;
          if (kind === 'crash-after') return crash();
        },
      },
      async send({ producer, epoch, number, payload }): Promise<Delivery<string>> {
        if (isDead) return never;
        const { kind, late } = coming.shift() ?? { kind: 'none', late: null };
        const copy = late === null ? undefined : sent[late % Math.max(1, sent.length)];
        if (copy) server.handle(copy.place, copy.payload);
        if (kind === 'crash-before') return crash();
        const place = { producer, epoch, number };
        sent.push({ place, payload });
        if (kind === 'lost-request') throw new TypeError('network');
        const delivery = server.handle(place, payload);
        if (kind === 'crash-after') return crash();
        if (kind === 'lost-answer') throw new TypeError('network');
        return delivery;
      },
      observe: (event) => {
        if (event.type === 'retry') setImmediate(() => timers.advance(event.delayMs));
      },
    });
    return { sender, crashed: crashed.promise.then(() => 'crashed' as const) };
  }

  const done = () => server.done.map(({ payload }) => payload);
  /** Whether the application may rely on it that a message is sent. */
  const isTaken = (payload: unknown): boolean => {
    const { numbered = [], queue = [] } = JSON.parse(text ?? '{}');
    const held = [...numbered.map((one: { payload: string }) => one.payload), ...queue];
    return held.includes(JSON.stringify(payload)) || done().includes(payload);
  };
  return { live, done, isTaken, sent };
}

it('processes every message once and in order, over any loss, repetition, delay and crash', async () => {
  let crashes = 0;
  let repeats = 0;
  await fc.assert(
    fc.asyncProperty(world, async (given) => {
      const { live, done, isTaken, sent } = lives(given);
      let life = live();
      const act = async (act: (sender: NumberedSender<unknown, string>) => Promise<unknown>) => {
        const result = await Promise.race([act(life.sender), life.crashed]);
        if (result !== 'crashed') return result;
        crashes++;
        life = live();
        return 'crashed';
      };
      for (let payload = 0; payload < given.messages; payload++) {
        while (!isTaken(payload)) {
          await act((sender) => (given.waits ? sender.send(payload) : sender.enqueue(payload)));
        }
      }
      while ((await act((sender) => sender.resume())) !== 0);
      expect(done()).toEqual(Array.from({ length: given.messages }, (_, payload) => payload));
      repeats += sent.length - given.messages;
    }),
    { numRuns: 3000, seed: 13 },
  );
  expect(crashes).toBeGreaterThan(1000);
  expect(repeats).toBeGreaterThan(1000);
}, 120_000);
