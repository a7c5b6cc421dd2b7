/** Runs a handler once through one schedule of faults, in a world of its own. */
import type { Context } from 'aws-lambda';
import { storeUnavailable } from '../errors.ts';
import { type MemoryStore, memoryStore, type Store } from '../store/index.ts';
import { type ManualClock, manualClock } from './manual-clock.ts';
import { type MemoryTable, type MemoryTables, memoryTables } from './memory-tables.ts';
import { withoutTimers, withTimers } from './own-timers.ts';

export const faultKinds = [
  'crash-before',
  'crash-after',
  'answer-lost',
  'duplicate',
  'overtaken-before',
  'overtaken-after',
] as const;

export type FaultKind = (typeof faultKinds)[number];

/** One fault: what happens when a delivery comes to a point. Deliveries and points are counted from 0. */
export interface Fault {
  readonly kind: FaultKind;
  readonly delivery: number;
  readonly point: number;
}

/** One line of a time line. */
export interface Moment {
  /** Milliseconds since the schedule began. */
  readonly atMs: number;
  /** Which delivery of the event, from 1. */
  readonly delivery: number;
  readonly what: string;
}

/** What a handler is made from. */
export interface ExploredWorld {
  /** Give it to the guard. */
  readonly store: Store;
  /** The store's clock. */
  readonly clock: ManualClock;
  /** The tables that `tables` describes. */
  readonly tables: MemoryTables;
  /**
   * Plays a call of another service. With a `token`, the service honours tokens: the same one counts once.
   * Rejects when the schedule loses its answer.
   */
  effect(name: string, token?: string): Promise<void>;
}

/** Makes the handler for one delivery: a function of event and context, as if in a process of its own. */
export type MakeHandler = (world: ExploredWorld) => unknown;

export interface ScheduleOptions {
  readonly effects: Readonly<Record<string, () => number>>;
  readonly tables: Readonly<Record<string, MemoryTable>>;
  readonly setUp: () => unknown;
  readonly timeoutMs: number;
}

export interface Point {
  readonly delivery: number;
  readonly point: number;
  readonly label: string;
}

/** What one schedule came to. */
export interface Ran {
  readonly faults: readonly Fault[];
  readonly counts: ReadonlyMap<string, number>;
  /** The counts after the first delivery. */
  readonly first: ReadonlyMap<string, number>;
  /** In the order in which the deliveries passed them. */
  readonly points: readonly Point[];
  readonly timeLine: readonly Moment[];
}

const marginMs = 1_001;
const mostDeliveries = 6;
const stuckMs = 10_000;

export async function runSchedule(
  make: MakeHandler,
  event: unknown,
  faults: readonly Fault[],
  options: ScheduleOptions,
): Promise<Ran> {
  await options.setUp();
  const before = countersOf(options.effects);
  const world = new World(make, event, faults, options);
  const countNow = (): ReadonlyMap<string, number> => {
    const counters = [...countersOf(options.effects)];
    const added = counters.map(([name, count]) => [name, count - (before.get(name) ?? 0)] as const);
    return new Map([...world.counts(), ...added]);
  };
  let first = countNow();
  try {
    const isDone = await world.deliver();
    first = countNow();
    await world.play(isDone);
  } finally {
    world.end();
  }
  return { faults, counts: countNow(), first, points: world.points, timeLine: world.timeLine };
}

const countersOf = (effects: ScheduleOptions['effects']): Map<string, number> =>
  new Map(Object.entries(effects).map(([name, count]) => [name, count()]));

/** One invocation. */
class Delivery {
  readonly number: number;
  readonly timers = new Set<ReturnType<typeof setTimeout>>();
  isDead = false;
  points = 0;
  die: () => void = () => {};
  readonly death = new Promise<'died'>((resolve) => {
    this.die = () => {
      this.isDead = true;
      this.stopTimers();
      resolve('died');
    };
  });

  constructor(number: number) {
    this.number = number;
  }

  stopTimers(): void {
    for (const timer of this.timers) clearTimeout(timer);
  }
}

class World {
  readonly points: Point[] = [];
  readonly timeLine: Moment[] = [];
  readonly #clock = manualClock();
  readonly #startedAtMs = this.#clock.now();
  readonly #store: MemoryStore;
  readonly #tables: MemoryTables;
  readonly #deliveries: Delivery[] = [];
  readonly #played = new Map<string, { untold: number; readonly tokens: Set<string> }>();
  readonly #make: MakeHandler;
  readonly #event: unknown;
  readonly #faults: readonly Fault[];
  readonly #options: ScheduleOptions;

  constructor(make: MakeHandler, event: unknown, faults: readonly Fault[], options: ScheduleOptions) {
    this.#make = make;
    this.#event = event;
    this.#faults = faults;
    this.#options = options;
    this.#tables = memoryTables(options.tables);
    const hasTables = Object.keys(options.tables).length > 0;
    this.#store = memoryStore({ clock: this.#clock, ...(hasTables && { tables: this.#tables }) });
  }

  /** Delivers until a delivery is done, and then once more, as every queue and caller may. */
  async play(isDone: boolean): Promise<void> {
    for (let done = isDone; !done && this.#deliveries.length < mostDeliveries; ) {
      this.#passLeases();
      done = await this.deliver();
    }
    await this.deliver();
  }

  end(): void {
    for (const delivery of this.#deliveries) delivery.die();
    forgetNamespaces(this.#store.id);
  }

  counts(): Map<string, number> {
    const counts = new Map<string, number>();
    const add = (name: string, count: number) => counts.set(name, (counts.get(name) ?? 0) + count);
    for (const [name, { untold, tokens }] of this.#played) add(name, untold + tokens.size);
    for (const { destination } of this.#store.messages) add(`message to ${destination}`, 1);
    for (const { Put, Update, Delete } of this.#store.writes) {
      const write = Put ?? Update ?? Delete;
      if (write) add(`write to ${write.TableName}`, 1);
    }
    return counts;
  }

  /** Whether the delivery is done: it need not come again. */
  async deliver(): Promise<boolean> {
    const delivery = new Delivery(this.#deliveries.length);
    this.#deliveries.push(delivery);
    this.#tell(delivery, 'the event is delivered');
    const context = contextOf(this.#clock, this.#options.timeoutMs, delivery.number);
    const run = withTimers(delivery.timers, async () => {
      const handler = await this.#make(this.#worldOf(delivery));
      if (typeof handler !== 'function') {
        throw new NoHandler('explore() needs a function that makes the handler: ({ store }) => handler.');
      }
      return (await (handler as Handler)(structuredClone(this.#event), context)) as unknown;
    });
    const ended = run.then(
      (answer) => (wantsRetry(answer) ? `answers ${retryOf(answer)}` : 'returned'),
      (error: unknown) => {
        if (error instanceof NoHandler) throw error;
        const { code, name } = (error ?? {}) as { code?: unknown; name?: unknown };
        return `throws ${typeof code === 'string' ? code : typeof name === 'string' ? name : 'an error'}`;
      },
    );
    const outcome = await inRealTime(Promise.race([ended, delivery.death]));
    if (outcome !== 'died') this.#tell(delivery, outcome);
    delivery.stopTimers();
    return outcome === 'returned';
  }

  #worldOf(delivery: Delivery): ExploredWorld {
    const pass = <T>(label: string, apply: () => Promise<T>) => this.#pass(delivery, label, apply);
    return {
      store: watched(this.#store, `${this.#store.id}/${delivery.number}`, pass),
      clock: this.#clock,
      tables: this.#tables,
      effect: (name, token) =>
        pass(`effect ${name}`, async () => {
          const played = this.#played.get(name) ?? { untold: 0, tokens: new Set() };
          this.#played.set(name, played);
          if (token === undefined) played.untold++;
          else played.tokens.add(token);
        }),
    };
  }

  async #pass<T>(delivery: Delivery, label: string, apply: () => Promise<T>): Promise<T> {
    if (delivery.isDead) return never();
    const point = delivery.points++;
    this.points.push({ delivery: delivery.number, point, label });
    const fault = this.#faults.find((one) => one.delivery === delivery.number && one.point === point);
    switch (fault?.kind) {
      case undefined:
        this.#tell(delivery, label);
        return apply();
      case 'crash-before':
        this.#tell(delivery, `crashes before: ${label}`);
        delivery.die();
        return never();
      case 'crash-after':
        await apply().catch(() => {});
        this.#tell(delivery, `${label}, and crashes before it has the answer`);
        delivery.die();
        return never();
      case 'answer-lost':
        await apply();
        this.#tell(delivery, `${label}, but the answer is lost: an error`);
        throw label.startsWith('effect ')
          ? Object.assign(new Error('The answer was lost.'), { code: 'ECONNRESET' })
          : storeUnavailable(new Error('The answer was lost.'));
      case 'duplicate':
      case 'overtaken-before':
        await this.#pause(delivery, `pauses before: ${label}`, fault.kind !== 'duplicate');
        this.#tell(delivery, `goes on: ${label}`);
        return apply();
      case 'overtaken-after': {
        const answer = await apply();
        await this.#pause(delivery, `${label}, and pauses`, true);
        this.#tell(delivery, 'goes on');
        return answer;
      }
    }
  }

  async #pause(delivery: Delivery, what: string, isOvertaken: boolean): Promise<void> {
    this.#tell(delivery, what);
    if (isOvertaken) this.#passLeases();
    await this.deliver();
  }

  #passLeases(): void {
    const nowMs = this.#clock.now();
    const ends = this.#store.records
      .filter(({ status }) => status === 'IN_PROGRESS')
      .map(({ leaseUntilMs }) => leaseUntilMs);
    this.#clock.advance(Math.max(...ends, nowMs) + marginMs - nowMs);
  }

  #tell(delivery: Delivery, what: string): void {
    this.timeLine.push({
      atMs: this.#clock.now() - this.#startedAtMs,
      delivery: delivery.number + 1,
      what,
    });
  }
}

class NoHandler extends Error {}

type Handler = (event: unknown, context: Context) => unknown;

const never = <T>(): Promise<T> => new Promise(() => {});

/** A copy of the store whose every request is a point. */
function watched(
  store: MemoryStore,
  id: string,
  pass: <T>(label: string, apply: () => Promise<T>) => Promise<T>,
): Store {
  const { steps, transactions } = store;
  const verb =
    <Given, T>(label: string, ask: (given: Given) => Promise<T>) =>
    (given: Given): Promise<T> =>
      pass(label, () => ask(given));
  return {
    id,
    ...(store.defaultNamespace !== undefined && { defaultNamespace: store.defaultNamespace }),
    ...(store.clock && { clock: store.clock }),
    maxAnswerBytes: store.maxAnswerBytes,
    claim: verb('claim', store.claim),
    takeOver: verb('take over the claim', store.takeOver),
    complete: verb('complete', store.complete),
    claimCompleted: (claim, completion) =>
      pass('claim and complete', () => store.claimCompleted(claim, completion)),
    amend: verb('amend the answer', store.amend),
    giveBack: verb('give the claim back', store.giveBack),
    endLease: verb('end the lease', store.endLease),
    read: verb('read the claim', store.read),
    numbered: (place) => watched(store.numbered(place), id, pass),
    positioned(place) {
      const lane = store.positioned(place);
      return { ...watched(lane, id, pass), position: lane.position };
    },
    steps: {
      put: (step) => pass(`record step ${step.name}`, () => steps.put(step)),
      finish: (step) => pass(`record step ${step.name}`, () => steps.finish(step)),
      read: verb('read the steps', steps.read),
    },
    transactions: {
      async build(request) {
        const transaction = await transactions.build(request);
        const label = request.step ? `transaction ${request.step.name}` : 'commit';
        return { send: () => pass(label, () => transaction.send()) };
      },
    },
  };
}

/** Whether a caller or a queue comes again after this answer. */
function wantsRetry(answer: unknown): boolean {
  return retryOf(answer) !== undefined;
}

function retryOf(answer: unknown): string | undefined {
  const { statusCode, batchItemFailures } = (answer ?? {}) as {
    statusCode?: unknown;
    batchItemFailures?: unknown;
  };
  if (typeof statusCode === 'number' && (statusCode >= 500 || [409, 425, 429].includes(statusCode))) {
    return String(statusCode);
  }
  const hasFailures = Array.isArray(batchItemFailures) && batchItemFailures.length > 0;
  return hasFailures ? `${batchItemFailures.length} failed records` : undefined;
}

/** @throws Error if a delivery neither ends nor comes to a point in time */
async function inRealTime<T>(work: Promise<T>): Promise<T> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const stuck = new Promise<never>((_, reject) => {
    const tell = () => reject(new Error(`A delivery did not end within ${stuckMs / 1_000} s of real time.`));
    timer = withoutTimers(() => setTimeout(tell, stuckMs));
  });
  try {
    return await Promise.race([work, stuck]);
  } finally {
    clearTimeout(timer);
  }
}

function contextOf(clock: ManualClock, timeoutMs: number, number: number): Context {
  const deadlineMs = clock.now() + timeoutMs;
  return {
    callbackWaitsForEmptyEventLoop: true,
    functionName: 'explored',
    functionVersion: '$LATEST',
    invokedFunctionArn: 'arn:aws:lambda:eu-west-1:123456789012:function:explored',
    memoryLimitInMB: '128',
    awsRequestId: `00000000-0000-4000-8000-${String(number).padStart(12, '0')}`,
    logGroupName: '/aws/lambda/explored',
    logStreamName: 'explored',
    getRemainingTimeInMillis: () => deadlineMs - clock.now(),
    done: () => {},
    fail: () => {},
    succeed: () => {},
  };
}

/** The engine remembers which guard has a store's default namespace. This store is gone, so it may forget. */
function forgetNamespaces(storeId: string): void {
  const shared = globalThis as unknown as Record<symbol, Map<string, object> | undefined>;
  const namespaces = shared[Symbol.for('idemkit.namespaces')];
  for (const place of namespaces?.keys() ?? []) {
    if (place.startsWith(JSON.stringify([storeId]).slice(0, -2))) namespaces?.delete(place);
  }
}
