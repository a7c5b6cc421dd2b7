/** How an attempt ends that has committed, or was to. `operation` brings it: no other attempt can come here. */
import { IdempotencyError } from '../errors.ts';
import type { ClaimRecord } from '../store/index.ts';
import { type Encoded, encode } from './codec.ts';
import { commit } from './commit.ts';
import { type Commits, completeEvent, type Ending, isToBeRemembered } from './ending.ts';
import { inTime } from './in-time.ts';
import { type Phase, storeFailedMidway } from './progress.ts';
import { amend, type Settled } from './protocol.ts';
import { notCommitted } from './refusals.ts';

export const commits: Commits = {
  async settle(ending, value, isRecord) {
    const { phase } = ending.progress;
    switch (phase.at) {
      case 'duplicate':
        return { outcome: 'replay', record: phase.record };
      case 'committed':
        return settleCommitted(ending, phase, value, isRecord);
      default:
        return settleUnclaimed(ending, value, isRecord, phase.at !== 'unclaimed' || phase.rejected);
    }
  },

  async raised(ending, error, left, settled) {
    try {
      const mayBeAnswered =
        settled?.outcome !== 'done' &&
        (IdempotencyError.is(error, 'OVERTAKEN') || IdempotencyError.is(error, 'OUTCOME_UNKNOWN'));
      const record =
        settled?.outcome === 'replay' ? settled.record : mayBeAnswered && (await completedMeanwhile(ending));
      if (record) return { kind: 'answer', answer: await ending.replay(record) };
    } catch {
      // The error itself says what is known.
    }
    return IdempotencyError.is(left) ? ending.call.reply.refused(left) : { kind: 'error', error: left };
  },
};

/**
 * The handler was to commit, and returned without. A refusal (a failed condition, an HTTP error) may be remembered.
 * Anything else is an error, because the handler may have acted where no commit protects it.
 */
async function settleUnclaimed(
  ending: Ending,
  value: unknown,
  isRecord: boolean,
  wasRejected: boolean,
): Promise<Settled | undefined> {
  const { call, progress } = ending;
  const isRefusal = wasRejected || (call.reply.statusOf(value) ?? 0) >= 400;
  const isWanted = isToBeRemembered(call, value);
  if (!isRefusal) throw notCommitted();
  if (!isWanted) {
    ending.companion?.end();
    const record = await completedMeanwhile(ending);
    return record && { outcome: 'replay', record };
  }
  const answer = isRecord ? undefined : value;
  await commitRefusal(ending, answer);
  const { phase } = progress;
  if (phase.at === 'duplicate') return { outcome: 'replay', record: phase.record };
  return phase.at === 'committed' ? settleCommitted(ending, phase, answer, false) : undefined;
}

/** Stores the refusal of a handler that claims at its commit and made none. */
async function commitRefusal({ progress }: Ending, answer: unknown): Promise<void> {
  try {
    await commit(progress, answer);
  } catch (error) {
    const isStores = IdempotencyError.is(error, 'STORE_UNAVAILABLE');
    throw progress.leaving(error, isStores ? storeFailedMidway : undefined);
  }
}

/** The operation is completed already, but other middlewares may have changed the answer since. */
async function settleCommitted(
  ending: Ending,
  { encoded, record }: Extract<Phase, { at: 'committed' }>,
  value: unknown,
  isRecord: boolean,
): Promise<Settled> {
  const { call, progress } = ending;
  const { settings, reply } = call;
  const settlingAtMs = settings.clock().now();
  ending.companion?.end();
  let settled: Settled = { outcome: 'done', record };
  let stored = encoded;
  const isSame = isRecord || (await isCommitted(ending, value, encoded));
  if (!isSame && reply.isAmended) {
    const final = await progress.encode(value);
    // An answer that is not to be remembered, or cannot be stored, must not replace the committed one.
    if (final.kind === 'bytes' && isToBeRemembered(call, value)) {
      settled = await amend(progress.attempt, record, final.bytes);
      stored = final;
    }
  }
  ending.tell(settled, settlingAtMs, completeEvent(stored));
  if (!isSame && !reply.isAmended) throw resultDiffers();
  return settled;
}

/** Whether `value` is what was committed. Compares serialised values without sealing them, which may call KMS. */
async function isCommitted({ call }: Ending, value: unknown, { plain }: Encoded): Promise<boolean> {
  const stored = call.reply.toStore(value);
  const encoded = await encode(stored, { operation: '', maxBytes: Number.POSITIVE_INFINITY });
  if (plain === undefined || encoded.plain === undefined) return plain === encoded.plain;
  return Buffer.compare(encoded.plain, plain) === 0;
}

/** The record of this window, if it has been completed unknown to this attempt. */
async function completedMeanwhile({ progress }: Ending): Promise<ClaimRecord | undefined> {
  const { attempt, phase } = progress;
  if (phase.at === 'committed' || phase.at === 'duplicate') return phase.record;
  if (phase.at === 'unclaimed') return undefined;
  const record = await inTime(attempt.deps.store.read(attempt.pk), attempt.settleTimeMs);
  if (record?.status !== 'COMPLETED') return undefined;
  return record.window === attempt.window || progress.isOwn(record) ? record : undefined;
}

const resultDiffers = (): IdempotencyError =>
  new IdempotencyError(
    'RESULT_DIFFERS',
    'The commit was applied, but the handler returned something else, which no repeat would get. Return what commit() resolves to.',
    { effect: 'possible' },
  );
