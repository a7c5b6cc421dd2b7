/** A scenario of a stream: its batches overlap, and one is cut where a part of it was committed. */
import type { Order } from '../../examples/payment-provider.ts';
import type { Played, Scenario, Stage } from './scenario.ts';
import { present } from './shop.ts';
import { deliver, salesOf } from './stream.ts';

/** The handler commits fifty at a time. */
const [firstBatch, all] = [80, 120];

export const streamScenarios: readonly Scenario[] = [
  {
    name: 'A stream batch, cut at a commit',
    guarantee:
      'Killed while it commits the second part of 80 sales. The batch comes again with 40 more: the position leaves out what is in the ledger.',
    expected: { runs: 4, effects: '120 entries', answers: [] },
    play: cutAtCommit,
  },
];

async function cutAtCommit(stage: Stage, order: Order): Promise<Played> {
  const { stack } = stage;
  const name = present(stage.functions, 'EnterSales');
  const records = salesOf(order, all);
  const kill = stack.killAt({
    ...{ function: name, operation: 'TransactWriteItems', request: 2, when: 'before' },
  });
  const cut = await deliver(stack, name, records.slice(0, firstBatch));
  const whole = await deliver(stack, name, records);
  const again = await deliver(stack, name, records);
  return {
    answers: [],
    checks: {
      'the function was killed before its second commit': kill.disarm() !== undefined && !cut,
      'the batch that overlaps was handled': whole,
      'what is done comes again, and is dropped': again,
    },
  };
}
