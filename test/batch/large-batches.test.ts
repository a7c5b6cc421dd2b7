import { expect, it } from 'vitest';
import { eachRecord, idempotent } from '../../lib/index.ts';
import { failedIn, sqsEvent, sqsMessage } from '../support/batch-events.ts';
import { lambdaContext } from '../support/invocation.ts';
import { recordingStore } from '../support/recording-store.ts';

const messages = (count: number) => Array.from({ length: count }, (_, at) => sqsMessage(`m-${at}`));

/** Milliseconds of computing that a record of a batch takes. */
async function costMs(size: number): Promise<number> {
  const handler = idempotent(
    eachRecord(async () => {}),
    { store: recordingStore(), namespace: 'orders' },
  );
  const event = sqsEvent(...messages(size));
  const before = process.cpuUsage();
  await handler(event, lambdaContext());
  const { user, system } = process.cpuUsage(before);
  return (user + system) / 1_000 / size;
}

it('a record of a large batch costs no more than one of a small batch', async () => {
  const costs = { small: [] as number[], large: [] as number[] };
  await costMs(2_000);
  for (let round = 0; round < 3; round++) {
    for (let batch = 0; batch < 20; batch++) costs.small.push(await costMs(40));
    costs.large.push(await costMs(2_000));
  }
  costs.small.sort((left, right) => left - right);
  const small = costs.small[costs.small.length / 2] ?? 0;
  // A collection of garbage may double it.
  expect(Math.min(...costs.large)).toBeLessThan(2.5 * small);
});

it('every record is settled where more are worked on at once than are settled at once', async () => {
  const store = recordingStore();
  const handler = idempotent(
    eachRecord(async () => {}, { concurrency: 170 }),
    { store, namespace: 'orders' },
  );
  expect(failedIn(await handler(sqsEvent(...messages(500)), lambdaContext()))).toEqual([]);
  expect((await store.records()).filter(({ status }) => status === 'COMPLETED')).toHaveLength(500);
});
