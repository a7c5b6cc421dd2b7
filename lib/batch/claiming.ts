/** Claiming a batch: every record is claimed before the handler is called, all at once. */
import type { Context } from 'aws-lambda';
import {
  enter,
  plainReply,
  type Request,
  refusalOf,
  type Settings,
  sendUnrecorded,
  UnguardedOperation,
} from '../engine/index.ts';
import { IdempotencyError } from '../errors.ts';
import {
  type Batch,
  type BatchRecord,
  type Identity,
  type IdentitySettings,
  identifyRecord,
  shownId,
} from '../events/index.ts';
import { inParallel } from '../pool.ts';
import { lanesOf } from './lanes.ts';
import { type RecordState, RecordStates } from './record-state.ts';

/** The SDK opens at most 50 sockets for a client; more requests at once would wait inside it, out of sight. */
export const maxParallel = 50;

/** A batch's guard names an operation for every record. */
export type BatchSettings = Settings & IdentitySettings;

/**
 * Resolves to what each record is: fresh, done before, failed, or not to be started.
 *
 * @throws what shows that the guard is set up wrongly; what is wrong with a record is that record's failure
 */
export async function claimBatch(
  settings: BatchSettings,
  batch: Batch,
  context: Context | undefined,
): Promise<RecordStates> {
  const states = new RecordStates(batch.records);
  const requests = new Map<BatchRecord, Request>();
  const leaders = new Map<string, BatchRecord>();
  for (const record of batch.records) {
    const identity = identityOf(settings, record, context, states);
    if (identity === undefined) continue;
    const leader = leaders.get(identity.pk);
    if (leader === undefined) {
      leaders.set(identity.pk, record);
      const startedAtMs = settings.clock().now();
      requests.set(record, {
        settings,
        event: record.raw,
        context,
        reply: plainReply,
        identity,
        startedAtMs,
      });
    } else if (requests.get(leader)?.identity.fingerprint !== identity.fingerprint) {
      states.fail(record, mismatchInBatch(leader));
    } else {
      states.set(record, { kind: 'follows', leader });
    }
  }

  let faultOfSetUp: unknown;
  await inParallel([...requests], maxParallel, async ([record, request]) => {
    if (faultOfSetUp !== undefined) return;
    try {
      states.set(record, await claimRecord(settings, request));
    } catch (error) {
      if (isFaultOfSetUp(error)) faultOfSetUp = error;
      states.fail(record, error);
    }
  });
  if (faultOfSetUp !== undefined) {
    await giveBack(states, states.fresh());
    throw faultOfSetUp;
  }
  if (batch.report !== 'throw') tellFailures(states);
  cutAcrossGroups(states);
  await giveBack(states, behindFailures(states));
  return states;
}

function identityOf(
  settings: BatchSettings,
  record: BatchRecord,
  context: Context | undefined,
  states: RecordStates,
): Extract<Identity, { kind: 'operation' }> | undefined {
  try {
    const identity = identifyRecord(settings, record, context as Context);
    if (identity.kind === 'operation') return identity;
    settings.observe({ type: 'unguarded', reason: identity.reason });
    states.set(record, unguarded(settings));
  } catch (error) {
    if (isFaultOfSetUp(error)) throw error;
    states.fail(record, error);
  }
  return undefined;
}

async function claimRecord(settings: BatchSettings, request: Request): Promise<RecordState> {
  const entered = await enter(request);
  switch (entered.outcome) {
    case 'run': {
      const { execution } = entered;
      return { kind: 'fresh', execution, operation: execution.operation };
    }
    case 'replay':
      settings.cache?.put(entered.record);
      return { kind: 'done' };
    case 'mismatch':
    case 'busy':
      return { kind: 'failed', error: refusalOf(entered, settings.clock().now()) };
    case 'unreachable':
      if (settings.whenStoreFails === 'refuse') return { kind: 'failed', error: entered.error };
      settings.observe({ type: 'unguarded', reason: 'store-failed', cause: entered.error });
      return unguarded(settings);
  }
}

/** What comes after a record in its group cannot wait for what becomes of another group's. */
function cutAcrossGroups(states: RecordStates): void {
  for (const record of states.records) {
    const state = states.get(record);
    if (state?.kind !== 'follows' || state.leader.group === record.group) continue;
    if (states.get(state.leader)?.kind !== 'done') states.fail(record, busyInBatch(state.leader));
  }
}

/** Order within a group holds only if nothing of it runs behind a record that could not. */
function behindFailures(states: RecordStates): BatchRecord[] {
  return lanesOf(states.records).flatMap((lane) => {
    const first = lane.findIndex((record) => states.comesAgain(record));
    return first < 0 ? [] : lane.slice(first + 1).filter((record) => states.get(record)?.kind === 'fresh');
  });
}

async function giveBack(states: RecordStates, records: readonly BatchRecord[]): Promise<void> {
  await inParallel(records, maxParallel, async (record) => {
    await states.take(record, { kind: 'skipped' })?.notStarted();
  });
}

/** A partial batch response carries no reason, so nothing else would tell. */
function tellFailures(states: RecordStates): void {
  const ids = new Map<string, string[]>();
  for (const record of states.records) {
    const state = states.get(record);
    // That one is running elsewhere is no fault, and the observer is told.
    if (state?.kind !== 'failed' || IdempotencyError.is(state.error, 'IN_PROGRESS')) continue;
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

const unguarded = (settings: Settings): RecordState => ({
  kind: 'fresh',
  execution: undefined,
  operation: new UnguardedOperation(sendUnrecorded(settings)),
});

/** It will be the same for every record and every delivery, until somebody mends it. */
const isFaultOfSetUp = (error: unknown): boolean =>
  ['STORE_MISCONFIGURED', 'UNSUPPORTED', 'BAD_OPTION', 'NAMESPACE_CLASH'].some((code) =>
    IdempotencyError.is(error, code as 'BAD_OPTION'),
  );

const maxNamed = 5;

/** The message of an error that is not ours may quote the payload. */
function reasonOf(error: unknown): string {
  if (IdempotencyError.is(error)) return `${error.code}: ${error.message}`;
  const name = error instanceof Error ? error.name : typeof error;
  return `One of the guard's options threw (${name}).`;
}

const mismatchInBatch = (record: BatchRecord): IdempotencyError =>
  new IdempotencyError(
    'PAYLOAD_MISMATCH',
    `It has the idempotency key of record ${shownId(record)} in the same batch, but another payload. Nothing has been done.`,
  );

const busyInBatch = (record: BatchRecord): IdempotencyError =>
  new IdempotencyError(
    'IN_PROGRESS',
    `It has the idempotency key of record ${shownId(record)} in the same batch, which belongs to another group. Nothing has been done by this one.`,
    { retryAfterSeconds: 1 },
  );
