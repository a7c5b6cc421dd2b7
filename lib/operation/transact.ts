/**
 * Sends one transaction again until its outcome is known or the time is over.
 *
 * The reasons of a cancelled transaction are judged in this order: the claim (is it still ours?), the step's own record
 * (was it done?), conflicts (send it again), and last the handler's own conditions.
 */
import { completed } from '../dynamo/index.ts';
import { type Attempt, backoff, inTime, outcomeUnknown, type Settings } from '../engine/index.ts';
import { IdempotencyError, storeUnavailable } from '../errors.ts';
import type {
  Clock,
  Store,
  Transacted,
  Transaction,
  TransactionRequest,
  TransactWrite,
} from '../store/index.ts';
import { uniqueId } from '../unique-id.ts';
import { isRecord, kindOf, memberPath } from '../validate.ts';
import { destinationsFromEnvironment, type Message, staged } from './outbox.ts';

/** Writes and messages that happen together or not at all. */
export interface AtomicWork {
  /**
   * DynamoDB writes in the shape of lib-dynamodb's `TransactItems`, with plain JavaScript values.
   * Each condition that fails comes back with the item that it met.
   */
  readonly writes?: readonly TransactWrite[];
  /** Messages for the outbox. They are staged with the writes; `OutboxPipe` or `relayOutbox()` publishes them. */
  readonly messages?: readonly Message[];
}

export const isEmpty = ({ writes = [], messages = [] }: AtomicWork): boolean =>
  writes.length === 0 && messages.length === 0;

/**
 * @param others what `work` may have beside its lists
 * @throws `BAD_WRITES` if `work` is not an object, has other members, or its lists are not arrays
 */
export function checkWork(what: string, work: unknown, ...others: readonly string[]): void {
  if (!isRecord(work)) {
    throw new IdempotencyError(
      'BAD_WRITES',
      `Expected ${what} to be given an object, got ${kindOf(work)}. Nothing was written. Write \`commit({ result, writes, messages })\`, or \`transaction(name, { value, writes, messages })\`.`,
    );
  }
  // A mistyped list would be left out of the transaction, and the operation would be done without it.
  const known = ['writes', 'messages', ...others];
  const unknown = Object.keys(work).find((name) => !known.includes(name));
  if (unknown !== undefined) {
    throw new IdempotencyError(
      'BAD_WRITES',
      `${what} takes no member \`${memberPath(unknown)}\`, but ${known.join(', ')}. Nothing was written.`,
    );
  }
  const { writes = [], messages = [] } = work;
  for (const [what, list] of Object.entries({ writes, messages })) {
    if (!Array.isArray(list)) {
      throw new IdempotencyError('BAD_WRITES', `Expected \`${what}\` to be an array, got ${kindOf(list)}.`);
    }
  }
}

export type Cancelled = Extract<Transacted, { outcome: 'cancelled' }>;

/**
 * Sends `work` and its change of the record as one transaction. Resolves to `undefined` once it is applied, else to what
 * cancelled it.
 *
 * @param name the step's, or `commit`
 * @throws `OUTCOME_UNKNOWN`: the attempt may begin nothing more. `BAD_WRITES`, `STORE_UNAVAILABLE`: nothing was written
 */
export async function transact(
  attempt: Attempt,
  settings: Settings,
  name: string,
  work: AtomicWork,
  record: Pick<TransactionRequest, 'claim' | 'step'>,
): Promise<Cancelled | undefined> {
  const { pk, window, endsAtMs } = attempt;
  const { store, clock } = attempt.deps;
  const transaction = await inTime(
    build(store, settings, name, work, { pk, window, endsAtMs, nowMs: clock.now(), ...record }),
    attempt.settleTimeMs,
  );
  const sent = await sendUntilKnown(transaction, clock, attempt.settleTimeMs);
  switch (sent.outcome) {
    case 'applied':
      return undefined;
    case 'cancelled':
      return sent;
    case 'unknown':
      throw outcomeUnknown(sent.cause);
    case 'token-reused':
      return readInstead(attempt);
  }
}

/** The same for an unguarded call, which has no record. */
export async function transactUnrecorded(settings: Settings, name: string, work: AtomicWork): Promise<void> {
  const store = settings.store();
  const clock = settings.clock();
  const window = uniqueId();
  const nowMs = clock.now();
  const transaction = await build(store, settings, name, work, {
    ...{ pk: `unguarded#${window}`, window, nowMs, endsAtMs: nowMs + settings.ttlMs },
    claim: { kind: 'none' },
  });
  const sent = await sendUntilKnown(transaction, clock, unrecordedTimeMs);
  if (sent.outcome === 'applied') return;
  if (sent.outcome === 'cancelled') throw rejected(sent);
  throw outcomeUnknown(sent.outcome === 'unknown' ? sent.cause : tokenReused());
}

const unrecordedTimeMs = 10_000;

/** @throws `BAD_WRITES`, `UNSUPPORTED` */
async function build(
  store: Store,
  settings: Settings,
  name: string,
  { writes = [], messages = [] }: AtomicWork,
  record: Omit<TransactionRequest, 'token' | 'writes' | 'messages'>,
): Promise<Transaction> {
  const { pk, window } = record;
  const place = {
    pk,
    window,
    name,
    destinations: settings.destinations ?? destinationsFromEnvironment(),
    seal: store.seal,
  };
  const token = uniqueId();
  const { transactions } = completed(store);
  if (!transactions) {
    throw unsupported(
      store,
      name === 'commit' ? 'commit() with writes or messages' : 'transaction()',
      'transactions',
    );
  }
  return transactions.build({ ...record, writes, messages: await staged(messages, place), token });
}

type Sent =
  | Exclude<Transacted, { outcome: 'in-progress' }>
  /** It may have been applied, or may yet be. */
  | { readonly outcome: 'unknown'; readonly cause: unknown };

/** @throws what the store says of the first sending, except `STORE_UNAVAILABLE` */
async function sendUntilKnown(transaction: Transaction, clock: Clock, timeMs: number): Promise<Sent> {
  const giveUpAtMs = clock.now() + timeMs;
  /** Why an earlier sending may have been applied, or may still be on its way. */
  let doubt: unknown;
  for (let pauseMs: number = backoff.firstMs; ; pauseMs = Math.min(pauseMs * 2, backoff.mostMs)) {
    let sent: Transacted | undefined;
    try {
      sent = await inTime(transaction.send(), Math.max(giveUpAtMs - clock.now(), backoff.firstMs));
    } catch (error) {
      if (doubt === undefined && !IdempotencyError.is(error, 'STORE_UNAVAILABLE')) throw error;
      doubt = error;
    }
    switch (sent?.outcome) {
      case 'applied':
      case 'token-reused':
        return sent;
      case 'in-progress':
        doubt = new Error('An earlier sending of this transaction is still being processed.');
        break;
      case 'cancelled':
        if (sent.isRepeat) doubt ??= new Error('An earlier sending of this transaction was not answered.');
        if (sent.claim || sent.step) return sent;
        if (sent.conflict) break;
        // The conditions failed now, but may hold when an earlier sending arrives.
        return doubt === undefined ? sent : { outcome: 'unknown', cause: doubt };
    }
    if (clock.now() + pauseMs >= giveUpAtMs) {
      return doubt === undefined && sent?.outcome === 'cancelled'
        ? sent
        : { outcome: 'unknown', cause: doubt };
    }
    await clock.sleep(pauseMs * (0.5 + Math.random() / 2));
  }
}

/** The token belongs to another request, so sending again tells nothing. The record does. */
async function readInstead(attempt: Attempt): Promise<Cancelled> {
  const { deps, pk, owner } = attempt;
  const found = await inTime(deps.store.read(pk), attempt.settleTimeMs).catch((error: unknown) => {
    throw outcomeUnknown(error);
  });
  if (found?.owner === owner && found.status === 'IN_PROGRESS') throw outcomeUnknown(tokenReused());
  return { outcome: 'cancelled', claim: { found }, conflict: false, isRepeat: true, rejections: [] };
}

/** The error for a transaction that the record did not stop. */
export function rejected({ rejections, conflict }: Cancelled): IdempotencyError {
  if (conflict) return conflicts();
  if (rejections.length === 0) return storeUnavailable(new Error('Cancelled without a reason.'));
  const which = rejections.map(({ index, code }) => `${index} (${code})`).join(', ');
  return new IdempotencyError(
    'COMMIT_REJECTED',
    `Nothing was written, for DynamoDB refused of the writes number ${which}. The error's \`rejections\` hold the items that the conditions met.`,
    { rejections },
  );
}

/** @param part which the store lacks */
export const unsupported = (store: Store, what: string, part: 'steps' | 'transactions'): IdempotencyError =>
  new IdempotencyError('UNSUPPORTED', `${what} needs a store with \`${part}\`, and ${store.id} has none.`);

const tokenReused = (): Error => new Error('The token of this transaction has been used for another one.');

const conflicts = (): IdempotencyError =>
  new IdempotencyError(
    'STORE_UNAVAILABLE',
    'Other transactions on the same items were in the way for as long as there was time. This one was not applied; try again.',
    { retryAfterSeconds: 1 },
  );
