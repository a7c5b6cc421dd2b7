/** Scenarios of tills, which number what they send: one that crashes, and one that was replaced. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Order } from '../../examples/payment-provider.ts';
import { openTill } from '../../examples/till.ts';
import { IdempotencyError } from '../../lib/client.ts';
import { type Answer, answerOf, type Played, type Scenario, type Stage } from './scenario.ts';
import { present } from './shop.ts';

export const tillScenarios: readonly Scenario[] = [
  {
    name: 'A till crashes and sends again',
    guarantee:
      'The sale was booked, the answer and the till were gone. Switched on again, it sends the sale with the same number: booked once, however late.',
    expected: { runs: 2, effects: '2 sales', answers: ['500', '201 replayed', '201'] },
    play: (stage, order) => withFolder((folder) => crashAndResend(stage, order, join(folder, 'sales.json'))),
  },
  {
    name: 'A replaced till is switched on once more',
    guarantee:
      'The newer till has begun a higher epoch. The older one is fenced: nothing of it runs any more.',
    expected: { runs: 2, effects: '2 sales', answers: ['201', '201', '409'] },
    play: (stage, order) => withFolder((folder) => replaced(stage, order, folder)),
  },
];

async function crashAndResend(stage: Stage, order: Order, file: string): Promise<Played> {
  const { stack } = stage;
  const answers: Answer[] = [];
  const kill = stack.killAt({
    ...{ request: 1, when: 'after', operation: 'TransactWriteItems' },
    function: present(stage.functions, 'BookSale'),
  });
  const crashing = openTill(order.customer, stack.url, file, {
    async fetch(...request) {
      const response = await fetch(...request);
      answers.push(await answerOf(response.clone()));
      // What comes after the first answer, this till does not live to see.
      void crashing.pause();
      return response;
    },
  });
  const sent = await crashing.send(order);
  const again = openTill(order.customer, stack.url, file, recording(answers));
  const left = await again.resume();
  const next = await again.send(order);
  return {
    answers,
    checks: {
      'the function was killed when the sale was booked': kill.disarm() !== undefined,
      'the sale waited in the file of the till': sent.outcome === 'queued',
      'nothing waits there in the end': left === 0 && (await again.queued()).length === 0,
      'the next sale has its answer': next.outcome === 'answered',
    },
  };
}

async function replaced(stage: Stage, order: Order, folder: string): Promise<Played> {
  const answers: Answer[] = [];
  const open = (file: string) =>
    openTill(order.customer, stage.stack.url, join(folder, file), recording(answers));
  const older = open('older.json');
  await older.send(order);
  await open('newer.json').send(order);
  const error: unknown = await older.send(order).then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  return {
    answers,
    checks: {
      'the older till knows that it is fenced': IdempotencyError.is(error, 'FENCED'),
      'the refusal says why, and not to come back':
        answers.at(-1)?.code === 'FENCED' && answers.at(-1)?.retryAfterSeconds === 0,
    },
  };
}

/** A `fetch` that takes down each answer. */
const recording = (answers: Answer[]) => ({
  async fetch(...request: Parameters<typeof fetch>): Promise<Response> {
    const response = await fetch(...request);
    answers.push(await answerOf(response.clone()));
    return response;
  },
});

async function withFolder<Result>(work: (folder: string) => Promise<Result>): Promise<Result> {
  const folder = await mkdtemp(join(tmpdir(), 'idemkit-till-'));
  try {
    return await work(folder);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
