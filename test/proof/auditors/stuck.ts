import { IdempotencyError } from '../../../lib/index.ts';
import type { Auditor, Call, History, StepRecorded } from '../simulation/history.ts';

type IsMeant = (history: History, call: Call, error: unknown) => boolean;

/** @param isMeantToo whether a call is refused for ever for a reason of its own protocol */
export const stuckBut = (isMeantToo: IsMeant): Auditor => ({
  promise: 'no key is stuck beyond its lease',
  audit: (history) => [
    ...unanswered(history, (...asked) => isMeantToo(...asked) || isMeant(...asked)),
    ...inItsOwnWay(history),
  ],
});

/** Once every lease is over and no fault strikes, every key is answered. */
export const stuck = stuckBut(() => false);

/** A call whose claim was applied without an answer takes it for its own. */
const inItsOwnWay = ({ calls, transitions }: History): string[] =>
  calls.flatMap((call) => {
    const { outcome, endedAtMs = 0, id } = call;
    const error = outcome?.kind === 'failed' ? outcome.error : undefined;
    if (!IdempotencyError.is(error, 'IN_PROGRESS') || error.record === undefined) return [];
    const claim = transitions.findLast(({ pk, atMs }) => call.pks.has(pk) && atMs <= endedAtMs);
    // Refused by another's, it cannot know that an earlier sending of its own is applied afterwards.
    // Over HTTP its moments are texts.
    const isTold = claim?.after?.endsAtMs === new Date(error.record.endsAt).getTime();
    const isOwn =
      claim?.call === call && claim.after?.status === 'IN_PROGRESS' && claim.after.leaseUntilMs > 0 && isTold;
    return isOwn ? [`${id} was told that it is in progress, by itself`] : [];
  });

const unanswered = (history: History, isMeant: IsMeant): string[] =>
  history.calls.flatMap((call) => {
    const { id, isProbe, outcome, key } = call;
    if (!isProbe) return [];
    if (outcome === undefined) return [`${id} asked for ${key}, and never was answered`];
    if (outcome.kind === 'answered') return [];
    const { code } = outcome.error as { code?: string };
    return isMeant(history, call, outcome.error)
      ? []
      : [`${id} asked for ${key}, and failed: ${code ?? outcome.error}`];
  });

/** A key may be refused for ever where its record is a reason for it. */
function isMeant(
  { transitions, calls, stepsStarted, stepsRecorded }: History,
  call: Call,
  error: unknown,
): boolean {
  const record = transitions.findLast(({ pk, atMs }) => call.pks.has(pk) && atMs <= (call.endedAtMs ?? 0));
  const { window, answer = '[]' } = record?.after ?? {};
  const first = transitions.find(({ after }) => after?.owner === window);
  const isOther = calls.some((one) => one === first?.call && one.payload !== call.payload);
  const [, , , unavailable] = JSON.parse(answer) as unknown[];
  const isGone = unavailable !== undefined && unavailable !== null;
  const isOf = ({ pk, sk }: StepRecorded) => call.pks.has(pk) && sk.startsWith(`${window}#`);
  const isUnavailable = isGone || stepsRecorded.some((step) => isOf(step) && step.isUnavailable);
  switch ((error as { readonly code?: string }).code) {
    case 'PAYLOAD_MISMATCH':
      // Stripe's profile has one code for both.
      return isOther || (!IdempotencyError.is(error) && isUnavailable);
    case 'RESULT_UNAVAILABLE':
      return isUnavailable;
    case 'INDETERMINATE':
      return stepsStarted.some(
        (step) => isOf(step) && !stepsRecorded.some(({ pk, sk }) => pk === step.pk && sk === step.sk),
      );
    default:
      return false;
  }
}
