import { beforeEach, describe, expect, it } from 'vitest';
import type { IdempotentOptions } from '../../lib/index.ts';
import type { Fault } from '../../local/faults/fault-proxy.ts';
import { failedIn } from '../support/batch-events.ts';
import { type Call, doors } from '../support/doors.ts';
import { lambdaContext } from '../support/invocation.ts';
import { workbench } from '../support/work.ts';
import { type Given, idsOf, keyed, kinesisEvent, lanesBench, type Work } from './lanes-bench.ts';

const bench = workbench();
const lanes = lanesBench();
let options: IdempotentOptions;
beforeEach(() => {
  options = lanes.observed({ store: bench.store({ client: { maxAttempts: 1 } }) });
});

const [, , [, wrap]] = doors as [never, never, (typeof doors)[number]];
const context = lambdaContext(30_000);
const event = kinesisEvent(...[1, 2, 3, 4].map((at) => keyed('a', at)));
const ids = ['a1', 'a2', 'a3', 'a4'];

const counts = (records: readonly Given[]) =>
  idsOf(records).map((id) => bench.count(`${options.namespace} ${id}`));
const times = () =>
  Promise.all(ids.map(async (id) => (await bench.read(`${options.namespace} ${id}`))?.times ?? 0));

const inParts: Work = async (records, op) => {
  for (let from = 0; from < records.length; from += 2) {
    const part = records.slice(from, from + 2);
    await op.commit({ writes: counts(part), upTo: part.at(-1) });
  }
};
const inSteps: Work = async (records, op) => {
  for (const record of records) {
    const [id] = idsOf([record]);
    await op.transaction(`count-${id}`, { writes: counts([record]) });
  }
};

const levels: readonly (readonly [string, IdempotentOptions, Work])[] = [
  [
    'committed without a claim',
    { claim: 'at-commit' },
    (records, op) => op.commit({ writes: counts(records) }),
  ],
  ['committed in parts without a claim', { claim: 'at-commit' }, inParts],
  ['committed under a claim', {}, (records, op) => op.commit({ writes: counts(records) })],
  ['committed in parts under a claim', {}, inParts],
  ['done in steps', {}, inSteps],
];

/** Delivers the records until none is reported, in halves at times, as Lambda does. */
async function deliver(handler: Call): Promise<void> {
  for (let deliveries = 0; deliveries < 5; deliveries++) {
    bench.clock.advance(61_000);
    const halves = [event.Records.slice(0, 2), event.Records.slice(2)];
    const batches = deliveries % 2 === 0 ? halves : [event.Records];
    let areAllDone = true;
    for (const Records of batches) {
      const failed = failedIn(await handler({ Records }, context));
      if (failed.length === 0) continue;
      areAllDone = false;
      break;
    }
    if (areAllDone) return;
  }
  throw new Error('The records were reported at each of five deliveries.');
}

describe.each(levels)('a lane %s', (_, level, work) => {
  const guarded = () => wrap(lanes.eachPartition(work), { ...options, ...level });

  async function requestsOf(): Promise<number> {
    await guarded()(event, context);
    const { length } = bench.proxy.requests;
    bench.proxy.reset();
    options = { ...options, namespace: `${options.namespace}-again` };
    return length;
  }

  it.each<[string, Fault]>([
    ['never arrives', 'drop-before'],
    ['is not answered', 'drop-after'],
    ['is answered half', 'cut'],
  ])('counts each record once, whichever one request %s', async (__, fault) => {
    const requests = await requestsOf();
    expect(requests).toBeGreaterThan(1);
    for (let nth = 1; nth <= requests; nth++) {
      options = { ...options, namespace: `${options.namespace}-${nth}` };
      bench.proxy.inject({ skip: nth - 1, fault });
      const handler = guarded();
      await handler(event, context);
      await deliver(handler);
      expect(await times(), `request ${nth}`).toEqual([1, 1, 1, 1]);
      bench.proxy.reset();
    }
  });

  it.each<[string, Fault]>([
    ['before', 'drop-before'],
    ['after', 'drop-after'],
  ])('counts each record once where its function is cut off %s any of its requests', async (__, fault) => {
    const requests = await requestsOf();
    for (let nth = 1; nth <= requests; nth++) {
      options = { ...options, namespace: `${options.namespace}-${nth}` };
      bench.proxy.inject({ skip: nth - 1, fault });
      bench.proxy.inject({ skip: nth - 1, fault: 'drop-before', times: Number.POSITIVE_INFINITY });
      await guarded()(event, context);
      bench.proxy.reset();
      await deliver(guarded());
      expect(await times(), `request ${nth}`).toEqual([1, 1, 1, 1]);
    }
  });

  it('counts each record once where a request of it arrives after all else', async () => {
    const requests = await requestsOf();
    for (let nth = 1; nth <= requests; nth++) {
      options = { ...options, namespace: `${options.namespace}-${nth}` };
      bench.proxy.inject({ skip: nth - 1, fault: { repeatAfterMs: 150 } });
      await guarded()(event, context);
      await deliver(guarded());
      await bench.proxy.calm();
      expect(await times(), `request ${nth}`).toEqual([1, 1, 1, 1]);
      await deliver(guarded());
      expect(await times(), `request ${nth}`).toEqual([1, 1, 1, 1]);
      bench.proxy.reset();
    }
  });
});
