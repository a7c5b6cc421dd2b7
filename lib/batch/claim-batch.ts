/** Claims records of a batch: before the handler sees them, all at once, or each when its turn comes. */
import { type Call, enter, plainReply, refusalOf, type Settings } from '../engine/index.ts';
import { IdempotencyError } from '../errors.ts';
import { type BatchRecord, shownId } from '../events/index.ts';
import { guardedOperation, unguardedOperation } from '../operation/index.ts';
import { inParallel } from '../pool.ts';
import { type ArrivedBatch, isFaultOfSetUp } from './arrived-batch.ts';
import { lanesOf } from './lanes.ts';
import type { RecordState, RecordStates } from './record-state.ts';

/** The SDK opens at most 50 sockets for a client. More requests at once would wait inside it, where nobody sees them. */
export const maxParallel = 50;

/**
 * Gives each of `records` its state: fresh, done before, failed, or not to be started. Those of numbered senders wait.
 *
 * @param records which have no state yet
 * @throws an error that shows that the guard is set up wrongly; any other error is its record's failure
 */
export async function claimRecords(
  arrived: ArrivedBatch,
  records: readonly BatchRecord[],
  states: RecordStates,
): Promise<void> {
  const calls = callsOf(arrived, records, states);
  if (arrived.isNumbered) {
    for (const [record, call] of calls) states.set(record, { kind: 'waiting', call });
    return logFailures(arrived, records, states);
  }
  await claimAll(arrived.settings, calls, states);
  logFailures(arrived, records, states);
  failAcrossGroups(states);
  await giveBack(states, freshBehindFailures(states));
}

/**
 * Claims a record that waits for its turn.
 *
 * @throws an error that shows that the guard is set up wrongly; any other error is the record's failure
 */
export async function claimInTurn(
  arrived: ArrivedBatch,
  record: BatchRecord,
  states: RecordStates,
): Promise<void> {
  const { settings } = arrived;
  const state = states.get(record);
  if (state?.kind !== 'waiting') return;
  try {
    states.set(record, await claimRecord(settings, { ...state.call, startedAtMs: settings.clock().now() }));
  } catch (error) {
    states.fail(record, error);
    if (isFaultOfSetUp(error)) throw error;
  }
  logFailures(arrived, [record], states);
}

/** What each record claims with. Records that claim nothing get their state here. */
function callsOf(
  { settings, context, identities, isNumbered }: ArrivedBatch,
  records: readonly BatchRecord[],
  states: RecordStates,
): Map<BatchRecord, Call> {
  const calls = new Map<BatchRecord, Call>();
  const leaders = new Map<string, BatchRecord>();
  for (const record of records) {
    const identity = identities?.get(record);
    if (identity === undefined) continue;
    if (identity.kind === 'failed') {
      states.fail(record, identity.error);
      continue;
    }
    if (identity.kind === 'none') {
      settings.observe?.({ type: 'unguarded', reason: identity.reason });
      states.set(record, unguarded(settings));
      continue;
    }
    // In turn, a record of another group claims by itself: its leader may come later.
    const operation = isNumbered ? JSON.stringify([record.group, identity.pk]) : identity.pk;
    const leader = leaders.get(operation);
    if (leader === undefined) {
      leaders.set(operation, record);
      const startedAtMs = settings.clock().now();
      const { raw: event } = record;
      calls.set(record, { settings, event, context, reply: plainReply, identity, startedAtMs });
    } else if (calls.get(leader)?.identity.fingerprint !== identity.fingerprint) {
      states.fail(record, mismatchInBatch(leader));
    } else {
      states.set(record, { kind: 'follows', leader });
    }
  }
  return calls;
}

async function claimAll(
  settings: Settings,
  calls: ReadonlyMap<BatchRecord, Call>,
  states: RecordStates,
): Promise<void> {
  let faultOfSetUp: unknown;
  await inParallel([...calls], maxParallel, async ([record, call]) => {
    if (faultOfSetUp !== undefined) return;
    try {
      states.set(record, await claimRecord(settings, call));
    } catch (error) {
      if (isFaultOfSetUp(error)) faultOfSetUp = error;
      states.fail(record, error);
    }
  });
  if (faultOfSetUp === undefined) return;
  await giveBack(states, states.fresh());
  throw faultOfSetUp;
}

async function claimRecord(settings: Settings, call: Call): Promise<RecordState> {
  const entered = await enter(call);
  switch (entered.outcome) {
    case 'run': {
      const { execution } = entered;
      return { kind: 'fresh', execution, operation: guardedOperation(execution) };
    }
    case 'replay':
      settings.cache?.put(entered.record);
      return { kind: 'done' };
    case 'mismatch':
    case 'busy':
      return { kind: 'failed', error: refusalOf(entered, settings.clock().now()) };
    case 'unreachable':
      if (settings.whenStoreFails === 'refuse') return { kind: 'failed', error: entered.error };
      settings.observe?.({ type: 'unguarded', reason: 'store-failed', cause: entered.error });
      return unguarded(settings);
  }
}

/**
 * Fails records whose leader is in another group and not done. The rest of a record's group cannot wait for another group.
 */
function failAcrossGroups(states: RecordStates): void {
  for (const record of states.known) {
    const state = states.get(record);
    if (state?.kind !== 'follows' || state.leader.group === record.group) continue;
    if (states.get(state.leader)?.kind !== 'done') states.fail(record, busyInBatch(state.leader));
  }
}

/** Records that must not start, because an earlier one of their group did not. Else the group would lose its order. */
function freshBehindFailures(states: RecordStates): BatchRecord[] {
  return lanesOf(states.known).flatMap((lane) => {
    const first = lane.findIndex((record) => states.comesAgain(record));
    return first < 0 ? [] : lane.slice(first + 1).filter((record) => states.get(record)?.kind === 'fresh');
  });
}

async function giveBack(states: RecordStates, records: readonly BatchRecord[]): Promise<void> {
  await inParallel(records, maxParallel, async (record) => {
    await states.take(record, { kind: 'skipped' })?.notStarted();
  });
}

/** A partial batch response has no room for reasons, so the log is the only place for them. */
function logFailures({ batch }: ArrivedBatch, records: readonly BatchRecord[], states: RecordStates): void {
  if (batch.report === 'throw') return;
  const ids = new Map<string, string[]>();
  for (const record of records) {
    const state = states.get(record);
    if (state?.kind !== 'failed' || isPassing(state.error)) continue;
    const why = reasonOf(state.error);
    const known = ids.get(why);
    if (known) known.push(record.id);
    else ids.set(why, [record.id]);
  }
  for (const [why, failed] of ids) {
    const named = failed.slice(0, maxNamed).join(', ');
    const more = failed.length > maxNamed ? ` and ${failed.length - maxNamed} more` : '';
    console.error(`[idemkit] Not processed, and delivered again: ${named}${more}. ${why}`);
  }
}

/** A record that another invocation is processing, or that came before its predecessor, is no fault. The observer hears of it. */
const isPassing = (error: unknown): boolean =>
  IdempotencyError.is(error, 'IN_PROGRESS') || IdempotencyError.is(error, 'SEQUENCE_GAP');

const unguarded = (settings: Settings): RecordState => ({
  kind: 'fresh',
  execution: undefined,
  operation: unguardedOperation(settings),
});

const maxNamed = 5;

/** An error that is not ours is not quoted: its message may hold the payload. */
function reasonOf(error: unknown): string {
  if (IdempotencyError.is(error)) return `${error.code}: ${error.message}`;
  const name = error instanceof Error ? error.name : typeof error;
  return `One of the guard's options threw (${name}).`;
}

const mismatchInBatch = (record: BatchRecord): IdempotencyError =>
  new IdempotencyError(
    'PAYLOAD_MISMATCH',
    `This record has the key of record ${shownId(record)} in the same batch, but another payload. Nothing has been done.`,
  );

const busyInBatch = (record: BatchRecord): IdempotencyError =>
  new IdempotencyError(
    'IN_PROGRESS',
    `This record has the key of record ${shownId(record)} in the same batch, but another group. Nothing has been done by this one.`,
    { retryAfterSeconds: 1 },
  );
