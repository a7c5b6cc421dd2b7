/** Two calls with one key: whichever comes first, and what the other one finds. */
import { type IdempotentOptions, idempotent, type Operation, operation } from '../../../../lib/index.ts';
import { effectsTable } from '../../simulation/database.ts';
import type { ClaimItem, Execution } from '../../simulation/history.ts';
import type { Sandbox } from '../../simulation/sandbox.ts';
import { namespace, pkOf } from '../../simulation/world.ts';
import type { Guarded, Moment, SmallWorld, Stage } from '../small-world.ts';

const tenant = 'ann';
const key = 'k1';
const pk = pkOf(tenant, key);

export interface Run {
  readonly stage: Stage;
  readonly op: Operation;
  readonly execution: Execution;
  /** Something outside, whose completion takes a while. */
  act(name: string): Promise<void>;
  /** What the handler answers. */
  readonly answer: object;
}

export interface Keyed {
  readonly name: string;
  /** Of the two callers. @default the same */
  readonly payloads?: readonly [string, string];
  readonly options?: IdempotentOptions;
  /** Whether time can pass to the end of a window as well. @default false */
  readonly windowEnds?: boolean;
  handle(run: Run): Promise<unknown>;
}

export const keyed = (world: Keyed): SmallWorld => ({
  name: world.name,
  begin(stage) {
    for (const payload of world.payloads ?? ['paid', 'paid']) begin(world, stage, 'sandbox', payload);
  },
  probe: (stage) => begin(world, stage, 'probe', world.payloads?.[0] ?? 'paid'),
  moments: (stage) => momentsOf(world, stage),
  end({ world: { database, history } }) {
    const counter = database.item(effectsTable, pk, 'counter')?.times as { N?: string } | undefined;
    history.counters.set(pk, Number(counter?.N ?? 0));
  },
});

function begin(world: Keyed, stage: Stage, name: string, payload: string): void {
  const isProbe = name === 'probe';
  const claimsAtCommit = world.options?.claim === 'at-commit';
  const about = { tenant, key, pks: [pk], payload, isProbe, claimsAtCommit };
  stage.call(name, about, (sandbox) => guardIn(world, stage, sandbox, payload));
}

function guardIn(world: Keyed, stage: Stage, sandbox: Sandbox, payload: string): Guarded {
  const guarded = idempotent(
    async (_: { readonly payload: string }, context) => {
      const op = operation(context);
      const execution = stage.world.begin(op, key, pk);
      const answer = { execution: execution.id, tenant, key, payload };
      // Another caller may get what it commits before it returns.
      execution.answers.push({ ...answer, commits: execution.id });
      try {
        const result = await world.handle({ stage, op, execution, answer, act: actIn(stage, execution) });
        stage.world.returned(execution, result);
        return result;
      } catch (error) {
        stage.world.threw(execution);
        throw error;
      }
    },
    {
      ...{ store: stage.world.store(sandbox), namespace, observe: stage.world.observe },
      ...{ key: () => key, tenant: () => tenant, lease: { seconds: 60 } },
      ...world.options,
    },
  );
  return (context) => guarded({ payload }, context);
}

const actIn =
  (stage: Stage, execution: Execution) =>
  async (name: string): Promise<void> => {
    const { history, time } = stage.world;
    history.effects.push({ execution, name, atMs: time.nowMs });
    stage.world.log(execution.call.sandbox, `${execution.id} ${name}: done`);
    await stage.gate(`goes on after ${name}`);
  };

function momentsOf({ windowEnds = false }: Keyed, { world: { history, time } }: Stage): readonly Moment[] {
  const claim = history.transitions.findLast((one) => one.pk === pk)?.after;
  if (!claim) return [];
  const moments = [
    { label: 'the lease passes', atMs: leaseEndOf(claim) },
    ...(windowEnds ? [{ label: 'the window ends', atMs: claim.endsAtMs }] : []),
  ];
  return moments.filter(({ atMs }) => atMs > time.nowMs);
}

const leaseEndOf = ({ status, leaseUntilMs }: ClaimItem): number =>
  status === 'IN_PROGRESS' ? leaseUntilMs : 0;
