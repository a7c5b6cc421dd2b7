import { IdempotencyError } from '../../../lib/index.ts';
import type { Auditor, History } from '../simulation/history.ts';

/** Once every lease is over and no fault strikes, every key is answered. */
export const stuck: Auditor = {
  promise: 'no key is stuck beyond its lease',
  audit: (history) => [...unanswered(history), ...inItsOwnWay(history)],
};

/** A call whose claim was applied without an answer takes it for its own. */
const inItsOwnWay = ({ calls, transitions }: History): string[] =>
  calls.flatMap((call) => {
    const { outcome, endedAtMs = 0, id } = call;
    const error = outcome?.kind === 'failed' ? outcome.error : undefined;
    if (!IdempotencyError.is(error, 'IN_PROGRESS') || error.record === undefined) return [];
    const claim = transitions.findLast(({ pk, atMs }) => call.pks.has(pk) && atMs <= endedAtMs);
    const isOwn =
      claim?.call === call && claim.after?.status === 'IN_PROGRESS' && claim.after.leaseUntilMs > 0;
    return isOwn ? [`${id} was told that it is in progress, by itself`] : [];
  });

const unanswered = ({ calls }: History): string[] =>
  calls.flatMap(({ id, isProbe, outcome, key }) => {
    if (!isProbe) return [];
    if (outcome === undefined) return [`${id} asked for ${key}, and never was answered`];
    if (outcome.kind === 'answered') return [];
    const { error } = outcome;
    // An operator has to look; the payload was another one.
    const isMeant = ['INDETERMINATE', 'PAYLOAD_MISMATCH', 'RESULT_UNAVAILABLE'].some(
      (code) => (error as { code?: string }).code === code,
    );
    return isMeant
      ? []
      : [`${id} asked for ${key}, and failed: ${(error as { code?: string }).code ?? error}`];
  });
