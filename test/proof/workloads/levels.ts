/** Handlers of each level, as a user would write them, with all that can go wrong in a handler. */
import type { AtomicWork, IdempotentOptions, Operation } from '../../../lib/index.ts';
import type { Answer } from '../auditors/answers.ts';
import { effectsTable } from '../simulation/database.ts';
import type { Execution } from '../simulation/history.ts';
import type { World } from '../simulation/world.ts';
import { httpAnswer } from './http-exchange.ts';
import type { Job } from './job.ts';
import type { HttpUse, Plan } from './plan.ts';
import { shapes } from './shapes.ts';

interface Run {
  readonly world: World;
  readonly execution: Execution;
  readonly op: Operation;
  readonly job: Job;
  readonly plan: Plan;
}

export interface Level {
  readonly name: string;
  readonly claimsAtCommit?: boolean;
  readonly http?: HttpUse;
  readonly options?: IdempotentOptions;
  handle(run: Run): Promise<unknown>;
}

export const levels: readonly Level[] = [
  {
    name: 'guarded',
    async handle(run) {
      await run.world.act(run.execution, 'charge');
      await work(run);
      await run.world.act(run.execution, 'mail');
      return outAt(run, answerOf(run));
    },
  },
  {
    name: 'stepped',
    async handle(run) {
      const { op } = run;
      await step(run, 'charge');
      await work(run);
      if (chanceOf(run, 0.5)) {
        const { execution } = run;
        const Item = { pk: execution.id, sk: 'reserve', operation: execution.pk };
        await op.transaction('reserve', { writes: [{ Put: { TableName: effectsTable, Item } }], value: 1 });
      }
      await Promise.all([step(run, 'mail'), step(run, 'invoice', chanceOf(run, 0.2))]);
      return outAt(run, answerOf(run));
    },
  },
  {
    name: 'committed',
    async handle(run) {
      if (chanceOf(run, 0.3)) await step(run, 'charge');
      await work(run);
      return commit(run);
    },
  },
  {
    name: 'committed with a fallback',
    async handle(run) {
      await work(run);
      try {
        return await commit(run);
      } catch {
        const answer: Answer = { ...answerOf(run), isFallback: true };
        return outAt(run, answer);
      }
    },
  },
  {
    name: 'committed and amended',
    http: 'only',
    async handle(run) {
      await work(run);
      const answer = (await commit(run)) as { readonly headers?: object };
      // As other middlewares do: the guard amends what was committed.
      return { ...answer, headers: { ...answer.headers, 'x-added': run.execution.call.id } };
    },
  },
  {
    name: 'answering nothing',
    http: 'never',
    async handle(run) {
      await step(run, 'charge');
      await work(run);
    },
  },
  {
    name: 'at commit',
    claimsAtCommit: true,
    options: { claim: 'at-commit' },
    async handle(run) {
      await work(run);
      return commit(run);
    },
  },
];

const chanceOf = ({ world, execution }: Run, rate: number): boolean =>
  world.chance.isTrue(`handler ${execution.id}`, rate);

async function work(run: Run): Promise<void> {
  const { world, execution, plan } = run;
  if (execution.call.isProbe) return;
  await world.pause(world.chance.between(`work ${execution.id}`, 0, plan.workMs));
  if (world.fault(`${execution.id} at work`, 'handler throws')) throw new Error('The handler failed.');
}

function step(run: Run, name: string, atMostOnce = false): Promise<void> {
  const { world, execution, op } = run;
  return op.step(
    name,
    async ({ token }) => {
      world.history.stepRuns.push({ execution, name, token, atMs: world.time.nowMs });
      await world.act(execution, name);
    },
    { atMostOnce },
  );
}

function answerOf({ world, execution, job, plan }: Run): Answer & Job {
  const isPassing = world.fault(`${execution.id} answer`, 'passing answer') !== undefined;
  const shape = shapes[plan.shape](world, execution.id);
  return { execution: execution.id, ...job, ...shape, ...(isPassing && { isPassing }) };
}

/** An answer as it goes out at the door. */
const outAt = ({ plan }: Run, answer: Answer): unknown => (plan.door.http ? httpAnswer(answer) : answer);

async function commit(run: Run): Promise<unknown> {
  const { execution, world, op } = run;
  const { isPassing: _, ...answer } = answerOf(run);
  const result = outAt(run, { ...answer, commits: execution.id } as Answer);
  execution.answers.push(structuredClone({ ...answer, commits: execution.id }));
  const bodies = chanceOf(run, 0.4) ? [`${execution.id} first`, `${execution.id} second`] : [];
  world.history.expectedMessages.set(execution.id, bodies);
  const isRefused = chanceOf(run, 0.2) && !execution.call.isProbe;
  const committed = await op
    .commit({ result, ...atomicWork(run, bodies, isRefused) })
    .catch((error: { readonly code?: string; readonly effect?: string }) => {
      if (error.code === 'COMMIT_REJECTED' || error.effect === 'none')
        world.history.refused.push(execution.id);
      throw error;
    });
  if (world.fault(`${execution.id} after its commit`, 'handler throws'))
    throw new Error('The handler failed.');
  return committed;
}

function atomicWork(run: Run, bodies: readonly string[], isRefused: boolean): AtomicWork {
  const TableName = effectsTable;
  const { pk, id } = run.execution;
  return {
    writes: [
      { Put: { TableName, Item: { pk: id, sk: 'by', operation: pk } } },
      {
        Update: {
          TableName,
          Key: { pk, sk: 'counter' },
          UpdateExpression: 'ADD times :one',
          ExpressionAttributeValues: { ':one': 1 },
        },
      },
      ...gate(run, isRefused),
    ],
    messages: bodies.map((body) => ({ destination: 'mail', body, groupId: 'orders' })),
  };
}

/** A gate that some commits open or shut, and some ask for: a condition that may hold when the same request arrives later. */
function gate(run: Run, isAskedFor: boolean): NonNullable<AtomicWork['writes']> {
  const place = { TableName: effectsTable, Key: { pk: 'gate', sk: 'gate' } };
  if (isAskedFor) return [{ ConditionCheck: { ...place, ConditionExpression: 'attribute_exists(pk)' } }];
  const drawn = run.world.chance.fraction(`gate ${run.execution.id}`);
  if (drawn < 0.15) return [{ Put: { TableName: effectsTable, Item: place.Key } }];
  return drawn < 0.3 ? [{ Delete: place }] : [];
}
