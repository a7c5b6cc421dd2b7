/** One run's world: time, chance, faults, the database, the processes, and what is written down of them. */
import { createHash } from 'node:crypto';
import type { Context } from 'aws-lambda';
import {
  type DynamoStore,
  dynamoStore,
  type IdempotencyEvent,
  type Operation,
  type Seal,
} from '../../../lib/index.ts';
import { Chance } from '../../../lib/simulate/time/chance.ts';
import { VirtualTime } from '../../../lib/simulate/time/virtual-time.ts';
import { Database } from './database.ts';
import { Faults, type Rates } from './faults.ts';
import { type Call, type CallOutcome, type Execution, History } from './history.ts';
import { Network, type Parts, type Wire } from './network.ts';
import { invocation, Sandbox } from './sandbox.ts';

const startMs = 1_800_000_000_000;
let worlds = 0;

export const namespace = 'proof';

/** Whose call it is, and of what. */
export interface About {
  readonly tenant: string;
  readonly key: string;
  /** Of the records that it may touch: one, or those of a batch. */
  readonly pks: readonly string[];
  readonly payload: string;
  /** @default the next number of a call */
  readonly id?: string;
  readonly isProbe?: boolean;
  readonly claimsAtCommit?: boolean;
}

export interface Deadline {
  readonly timeoutMs: number;
}

export class World {
  readonly time = new VirtualTime(startMs);
  readonly history = new History();
  readonly chance: Chance;
  readonly faults: Faults;
  readonly database: Database;
  readonly network: Wire;
  readonly trace: string[] = [];
  #calls = 0;
  #sandboxes = 0;
  readonly #number = worlds++;

  /**
   * @param only names of the faults that may strike @default all
   * @param networkOf makes the network @default the one that draws its faults
   */
  constructor(
    seed: number,
    rates: Rates,
    only?: ReadonlySet<string>,
    networkOf: (parts: Parts) => Wire = (parts) => new Network(parts),
  ) {
    const { time, history } = this;
    this.chance = new Chance(seed);
    this.faults = new Faults(this.chance, rates, only);
    this.database = new Database(history, () => time.nowMs);
    this.network = networkOf({
      ...{ time, chance: this.chance, faults: this.faults, database: this.database, history },
      log: (who, what) => this.log(who, what),
    });
  }

  log(who: string, what: string): void {
    const ms = this.time.nowMs - startMs;
    this.trace.push(`${String(ms).padStart(9)} ms  ${who.padEnd(10)} ${what}`);
  }

  fault<Kind extends string>(place: string, ...kinds: readonly Kind[]): Kind | undefined {
    const kind = this.faults.at(place, kinds);
    if (kind) this.log('fault', `${place}: ${kind}`);
    return kind;
  }

  sandbox(name = 'sandbox'): Sandbox {
    const number = ++this.#sandboxes;
    const place = `${name} ${number}`;
    const kind = this.fault(`skew of ${place}`, 'small skew', 'wild skew');
    const mostMs = kind === 'wild skew' ? 30_000 : kind === 'small skew' ? 450 : 0;
    const skewMs = this.chance.between(`skew of ${place}`, -mostMs, mostMs);
    if (skewMs !== 0) this.history.reach(`a clock is skewed: ${name}`);
    return new Sandbox(place, this.time, skewMs);
  }

  store(sandbox: Sandbox, seal?: Seal): DynamoStore {
    // A name of its own in each process: the library remembers for which tables it has seen what.
    const tableName = `records of ${this.#number} in ${sandbox.name}`;
    return dynamoStore({
      ...{ tableName, client: this.network.client(sandbox, tableName), clock: sandbox.clock },
      ...(seal && { seal }),
    });
  }

  readonly observe = (event: IdempotencyEvent): void => {
    const running = invocation.getStore();
    running?.call?.observed.push(event);
    this.log(running?.sandbox.name ?? '', `${running?.call?.id ?? ''} observes ${event.type}`);
  };

  /** Calls a guarded handler in a process. `ended` is called with its outcome, unless the process dies before. */
  invoke(
    sandbox: Sandbox,
    about: About,
    guarded: (context: Context | undefined) => Promise<unknown>,
    deadline: Deadline | undefined,
    ended: (outcome: CallOutcome) => void,
  ): Call {
    const { tenant, key, payload, pks, isProbe = false, claimsAtCommit = false } = about;
    const call: Call = {
      id: about.id ?? `call ${++this.#calls}`,
      ...{ tenant, key, payload, isProbe },
      pks: new Set(pks),
      sandbox: sandbox.name,
      startedAtMs: this.time.nowMs,
      startedAtClockMs: sandbox.clock.now(),
      ...{ outcome: undefined, endedAtMs: undefined, observed: [], touched: new Set<string>(), requests: 0 },
    };
    this.history.calls.push(call);
    if (claimsAtCommit) this.history.claimsAtCommit.add(call.id);
    this.log(sandbox.name, `${call.id} begins: ${tenant} ${call.key} ${payload}`);
    if (sandbox.running > 0) this.history.reach('a call while another one runs in its process');
    sandbox.running++;
    const end = (outcome: CallOutcome) => {
      // What goes on in a process that is dead is nobody's.
      if (sandbox.isDead) return;
      sandbox.running--;
      stopClock?.();
      call.outcome = outcome;
      call.endedAtMs = this.time.nowMs;
      this.log(sandbox.name, `${call.id} ${described(outcome)}`);
      ended(outcome);
    };
    const stopClock =
      deadline &&
      this.time.after(deadline.timeoutMs, () => {
        if (sandbox.isDead) return;
        sandbox.isDead = true;
        this.history.reach('a process is killed at its deadline');
        this.log(sandbox.name, `${call.id} is killed at its deadline`);
      });
    sandbox.after(1, () =>
      invocation.run({ sandbox, call }, () => {
        const untilMs = this.time.nowMs + (deadline?.timeoutMs ?? 0);
        const context =
          deadline && ({ getRemainingTimeInMillis: () => untilMs - this.time.nowMs } as Context);
        guarded(context).then(
          (value) => {
            end({ kind: 'answered', value: structuredClone(value) });
            spoil(value);
          },
          (error: unknown) => end({ kind: 'failed', error }),
        );
      }),
    );
    return call;
  }

  /** A handler's first line: whose run it is. */
  begin(op: Operation, key: string, pk: string): Execution {
    const { call, sandbox } = invocation.getStore()!;
    if (!call) throw new Error('A handler was run that nobody called.');
    const claim = this.history.transitions.findLast(
      ({ call: other, pk: place, before, after }) =>
        other === call && place === pk && after?.owner !== before?.owner && after?.status === 'IN_PROGRESS',
    );
    const execution: Execution = {
      id: `${call.id} ${key}`,
      ...{ call, key, pk, isGuarded: op.guarded, attempt: op.attempt },
      startedAtMs: this.time.nowMs,
      startedAtClockMs: sandbox.clock.now(),
      claim: claim?.after,
      claimedAtMs: claim?.atMs,
      owner: claim?.after?.owner,
      window: claim?.after?.window,
      endsAtMs: op.expiresAt.getTime(),
      ...{ endedAtMs: undefined, ended: undefined, answers: [] },
    };
    this.history.executions.push(execution);
    this.log(
      sandbox.name,
      `${execution.id}: handler starts, attempt ${op.attempt}${op.guarded ? '' : ', unguarded'}`,
    );
    return execution;
  }

  returned(execution: Execution, answer: unknown): void {
    execution.answers.push(structuredClone(answer));
    this.#end(execution, 'returned');
  }

  threw(execution: Execution): void {
    this.#end(execution, 'threw');
  }

  #end(execution: Execution, ended: 'returned' | 'threw'): void {
    execution.ended = ended;
    execution.endedAtMs = this.time.nowMs;
    if (execution.claim && this.time.nowMs > execution.claim.leaseUntilMs) {
      this.history.reach('a handler ends after its lease');
    }
    this.log(execution.call.sandbox, `${execution.id}: handler ${ended}`);
  }

  /** Waits in the process that is running. */
  pause(ms: number): Promise<void> {
    const { sandbox } = invocation.getStore()!;
    return new Promise((resolve) => sandbox.after(ms, resolve));
  }

  /** Something that a handler does outside, with the crashes and losses that may befall it. @throws where its answer is lost */
  async act(execution: Execution, name: string): Promise<void> {
    const { sandbox } = invocation.getStore()!;
    const place = `${execution.id} ${name}`;
    const kind = this.fault(place, 'crash before', 'crash after', 'lost answer', 'frozen');
    await this.pause(this.chance.between(`act ${place}`, 1, 40));
    if (kind === 'crash before') return this.#crashAt(sandbox, place);
    this.history.effects.push({ execution, name, atMs: this.time.nowMs });
    this.log(sandbox.name, `${place}: done`);
    if (kind === 'crash after') return this.#crashAt(sandbox, place);
    if (kind === 'frozen') sandbox.freeze(this.chance.pick(`frozen ${place}`, [1_500, 20_000, 130_000]));
    await this.pause(this.chance.between(`act ${place}`, 1, 40));
    if (kind === 'lost answer') throw new Error('The downstream did not answer.');
  }

  #crashAt(sandbox: Sandbox, place: string): Promise<never> {
    sandbox.isDead = true;
    this.log(sandbox.name, `crashes at ${place}`);
    return new Promise(() => {});
  }
}

/** Written out again, so that a change of the library's shows. */
export const pkOf = (tenant: string | null, ...parts: readonly unknown[]): string =>
  `${namespace}#${createHash('sha256')
    .update(JSON.stringify([tenant, ...parts]))
    .digest('base64url')}`;

/** The partition of a numbered sender's item. */
export const senderPkOf = (tenant: string, producer: string): string => pkOf('sequence', tenant, producer);

/** Callers do with an answer what they like. */
function spoil(answer: unknown): void {
  if (typeof answer === 'object' && answer !== null) Object.assign(answer, { execution: 'spoiled' });
}

function described(outcome: CallOutcome): string {
  if (outcome.kind === 'answered')
    return `is answered ${JSON.stringify(outcome.value, plainly)?.slice(0, 160)}`;
  const { code, effect, message } = outcome.error as { code?: string; effect?: string; message?: string };
  return `fails: ${code ? `${code}, effect ${effect}` : message}`;
}

const plainly = (_: string, value: unknown): unknown => (typeof value === 'bigint' ? `${value}n` : value);
