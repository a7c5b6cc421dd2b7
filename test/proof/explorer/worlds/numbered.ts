/** Two calls of one numbered sender: the same number, or the first number of two epochs. Whichever comes first, and what the other finds. */
import { type IdempotentOptions, idempotent, numbered, operation } from '../../../../lib/index.ts';
import { numberedAuditors, placesAsked } from '../../auditors/numbered.ts';
import { effectsTable } from '../../simulation/database.ts';
import type { ClaimItem } from '../../simulation/history.ts';
import { invocation, type Sandbox } from '../../simulation/sandbox.ts';
import { namespace, senderPkOf } from '../../simulation/world.ts';
import { watchSenders } from '../../workloads/watch-senders.ts';
import type { Guarded, Moment, SmallWorld, Stage } from '../small-world.ts';

const tenant = 'shop';
const producer = 'till 1';
const sender = senderPkOf(tenant, producer);
const payload = 'sale 1';

interface Sale {
  readonly epoch: number;
  readonly number: number;
}

const pkOf = ({ epoch, number }: Sale): string => `${sender}:${epoch}:${number}`;
const keyOf = ({ epoch, number }: Sale): string => `${producer} ${epoch}.${number}`;

const sameNumber: readonly [Sale, Sale] = [
  { epoch: 0, number: 0 },
  { epoch: 0, number: 0 },
];
const twoEpochs: readonly [Sale, Sale] = [
  { epoch: 0, number: 0 },
  { epoch: 1, number: 0 },
];

export const numberedTwice = worldOf('numbered', sameNumber);
export const numberedEpochs = worldOf('numbered, two epochs', twoEpochs);
export const numberedAtCommit = worldOf('numbered, two epochs, at commit', twoEpochs, { claim: 'at-commit' });

function worldOf(name: string, sales: readonly [Sale, Sale], options: IdempotentOptions = {}): SmallWorld {
  return {
    name,
    auditors: numberedAuditors,
    begin(stage) {
      watchSenders(stage.world);
      for (const sale of sales) call(stage, sale, options, 'sandbox');
    },
    // The newer epoch: an older one is refused for ever once that has begun.
    probe: (stage) => call(stage, sales[1], options, 'probe'),
    moments: momentsOf,
    end({ world: { database, history } }) {
      for (const pk of new Set(sales.map(pkOf))) {
        const counter = database.item(effectsTable, pk, 'counter')?.times as { N?: string } | undefined;
        history.counters.set(pk, Number(counter?.N ?? 0));
      }
    },
  };
}

function call(stage: Stage, sale: Sale, options: IdempotentOptions, name: string): void {
  const { history } = stage.world;
  const about = { tenant, key: keyOf(sale), pks: [pkOf(sale), sender], payload, isProbe: name === 'probe' };
  const claimsAtCommit = options.claim === 'at-commit';
  stage.call(name, { ...about, claimsAtCommit }, (sandbox) => {
    const guarded = guardIn(stage, sandbox, sale, options);
    return (context) => {
      const { id } = invocation.getStore()!.call!;
      history.facts(placesAsked).push({ call: id, sender, ...sale });
      return guarded(context);
    };
  });
}

function guardIn(stage: Stage, sandbox: Sandbox, sale: Sale, options: IdempotentOptions): Guarded {
  const { world } = stage;
  const guarded = idempotent(
    async (_: unknown, context) => {
      const op = operation(context);
      const execution = world.begin(op, keyOf(sale), pkOf(sale));
      const answer = { execution: execution.id, tenant, key: keyOf(sale), payload };
      try {
        const result = options.claim === 'at-commit' ? await commit() : await act();
        world.returned(execution, result);
        return result;
      } catch (error) {
        world.threw(execution);
        throw error;
      }

      async function act(): Promise<object> {
        world.history.effects.push({ execution, name: 'charge', atMs: world.time.nowMs });
        world.log(execution.call.sandbox, `${execution.id} charge: done`);
        await stage.gate('goes on after charge');
        return answer;
      }

      function commit(): Promise<object> {
        const result = { ...answer, commits: execution.id };
        // Another caller may get what it commits before it returns.
        execution.answers.push(result);
        const { id, pk } = execution;
        const counted = { UpdateExpression: 'ADD times :one', ExpressionAttributeValues: { ':one': 1 } };
        return op.commit({
          result,
          writes: [
            { Put: { TableName: effectsTable, Item: { pk: id, sk: 'by', operation: pk } } },
            { Update: { TableName: effectsTable, Key: { pk, sk: 'counter' }, ...counted } },
          ],
        });
      }
    },
    {
      ...{ store: world.store(sandbox), namespace, observe: world.observe, tenant: () => tenant },
      ...{
        lease: { seconds: 60 },
        sequence: numbered(() => ({ producer, ...sale })),
      },
      ...(options as object),
    },
  );
  return (context) => guarded({ ...sale }, context);
}

function momentsOf({ world: { history, time } }: Stage): readonly Moment[] {
  const claim = history.transitions.findLast(({ pk }) => pk.startsWith(`${sender}:`))?.after;
  const atMs = claim ? leaseEndOf(claim) : 0;
  return atMs > time.nowMs ? [{ label: 'the lease passes', atMs }] : [];
}

const leaseEndOf = ({ status, leaseUntilMs }: ClaimItem): number =>
  status === 'IN_PROGRESS' ? leaseUntilMs : 0;
