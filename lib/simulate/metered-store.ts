/** The memory store as an environment reaches it: over a network, and at DynamoDB's prices. */
import type {
  ClaimRecord,
  Completion,
  MemoryStore,
  NewStep,
  Store,
  Transacted,
  TransactionRequest,
  Written,
} from '../store/index.ts';
import type { Counts } from './counts.ts';
import type { Environment } from './environment.ts';
import { readUnits, writeUnits } from './prices.ts';

export interface Meter {
  readonly counts: Counts;
  /** How long the next request takes. */
  latencyMs(): number;
  /** Lets a request arrive, whether its sender lives or not. */
  after(delayMs: number, happen: () => void): void;
}

export function meteredStore(inner: MemoryStore, environment: Environment, meter: Meter): Store {
  const { counts } = meter;
  const ask = <T>(call: () => Promise<T>, count: (answer: T) => void): Promise<T> =>
    new Promise((resolve, reject) => {
      meter.after(meter.latencyMs(), () => {
        counts.storeRequests++;
        void call().then((answer) => {
          count(answer);
          if (!environment.isDead) resolve(answer);
        }, reject);
      });
    });
  const write = (units: number) => (written: { readonly outcome: string; readonly found?: unknown }) => {
    const found = written.outcome === 'stopped' ? written.found : undefined;
    counts.writeUnits += found === undefined ? units : writeUnits(sizeOf(found as ClaimRecord));
  };
  const completing = (completion: Completion): ((written: Written) => void) =>
    write(writeUnits(bytesOf(completion.answer)));
  const transacted = (request: TransactionRequest) => (_: Transacted) => {
    // A handler's write is the handler's, with a guard or without; that a transaction doubles its price is the commit's.
    counts.writeUnits += 2 * unitsOf(request) + request.writes.length;
  };

  return {
    id: inner.id,
    clock: environment.clock,
    maxAnswerBytes: 1_000_000,
    claim: (claim) => ask(() => inner.claim(claim), write(1)),
    takeOver: (takeover) => ask(() => inner.takeOver(takeover), write(1)),
    complete: (completion) => ask(() => inner.complete(completion), completing(completion)),
    claimCompleted: (claim, completion) =>
      ask(() => inner.claimCompleted(claim, completion), completing(completion)),
    amend: (completion) => ask(() => inner.amend(completion), completing(completion)),
    giveBack: (claim) => ask(() => inner.giveBack(claim), write(1)),
    endLease: (claim) => ask(() => inner.endLease(claim), write(1)),
    read: (pk) =>
      ask(
        () => inner.read(pk),
        (record) => {
          counts.readUnits += readUnits(record ? sizeOf(record) : 0);
        },
      ),
    steps: {
      put: (step) => ask(() => inner.steps.put(step), write(stepUnits(step))),
      finish: (step) => ask(() => inner.steps.finish(step), write(stepUnits(step))),
      read: (of) =>
        ask(
          () => inner.steps.read(of),
          (steps) => {
            counts.readUnits += readUnits(400 * Math.max(0, steps.length - 1));
          },
        ),
    },
    transactions: {
      async build(request) {
        const built = await inner.transactions.build(request);
        return { send: () => ask(() => built.send(), transacted(request)) };
      },
    },
  };
}

const bytesOf = (value: NewStep['value']): number => (ArrayBuffer.isView(value) ? value.byteLength : 0);

/** Steps' records have no answer to be stopped by. */
const sizeOf = ({ answer }: Partial<ClaimRecord>): number =>
  answer?.kind === 'inline' ? answer.bytes.byteLength : 0;

const stepUnits = ({ value }: NewStep): number => writeUnits(bytesOf(value));

/** Of idemkit's own items, before a transaction doubles them. */
function unitsOf({ claim, step, messages }: TransactionRequest): number {
  const own =
    claim.kind === 'complete' || claim.kind === 'record'
      ? writeUnits(bytesOf(claim.completion.answer))
      : claim.kind === 'check'
        ? 1
        : 0;
  return own + (step ? stepUnits(step) : 0) + messages.length;
}
