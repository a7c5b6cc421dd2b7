/** What an HTTP API's callers are promised beyond the answer itself. */
import {
  type Auditor,
  type Call,
  type Execution,
  type History,
  kindOfFact,
  type Transition,
} from '../simulation/history.ts';

/** An answer as a client over HTTP has read it. */
export interface HttpAnswer {
  readonly call: Call;
  readonly profile: 'problem' | 'stripe' | 'told';
  readonly status: number;
  /** Whose answer it is; absent of a refusal. */
  readonly execution: string | undefined;
  /** Whether a commit made it. */
  readonly isCommitted: boolean;
  readonly code: string | undefined;
  readonly retryAfter: string | undefined;
  readonly isReplayed: boolean;
  readonly isForBrowsers: boolean;
  readonly cookie: string | undefined;
  readonly added: string | undefined;
}

export const httpAnswers = kindOfFact<HttpAnswer>('answers over HTTP');

/** Calls whose answer a key service did not seal. */
export const failedSeals = kindOfFact<Call | undefined>('failed seals');

export const http: Auditor = {
  promise: 'an answer over HTTP is as the contract has it',
  audit: (history) =>
    history
      .facts(httpAnswers)
      .flatMap((answer) =>
        (answer.execution === undefined
          ? problemsOfRefusal(answer)
          : [...problemsOfAnswer(answer), ...unlikeAmended(history, answer)]
        ).map((problem) => `${answer.call.id} (${answer.status}, ${answer.code}): ${problem}`),
      ),
};

/** Written out again from docs/http.md. */
const problemStatus: Readonly<Record<string, number>> = {
  IN_PROGRESS: 409,
  OVERTAKEN: 409,
  RESULT_UNAVAILABLE: 410,
  PAYLOAD_MISMATCH: 422,
  STORE_UNAVAILABLE: 503,
  OUTCOME_UNKNOWN: 503,
  NO_TIME_LEFT: 503,
};

const stripeStatus: Readonly<Record<string, readonly number[]>> = {
  idempotency_error: [400],
  idempotency_key_in_use: [409],
  api_error: [503],
};

function problemsOfRefusal({ profile, status, code = '', retryAfter, ...answer }: HttpAnswer): string[] {
  // A middleware turned it away, which is not the guard's answer.
  if (status === 403) return [];
  const isMeant = {
    problem: () => problemStatus[code] === status,
    stripe: () => stripeStatus[code]?.includes(status) === true,
    told: () => code !== '',
  }[profile]();
  const mayRetry =
    profile === 'told' ? [409, 503].includes(problemStatus[code] ?? 0) : [409, 503].includes(status);
  const isFit = mayRetry ? /^[1-9]\d*$/.test(retryAfter ?? '') : retryAfter === undefined;
  return [
    ...(isMeant ? [] : ['its status is not that of its code']),
    ...(isFit ? [] : [`its Retry-After is ${retryAfter}`]),
    ...(answer.isForBrowsers ? [] : ['a browser cannot read it']),
    ...(answer.isReplayed ? ['a refusal is marked as replayed'] : []),
  ];
}

function problemsOfAnswer({
  call,
  execution,
  status,
  isReplayed,
  isForBrowsers,
  cookie,
  added,
}: HttpAnswer): string[] {
  const isOwn = execution === `${call.id} ${call.key}`;
  if (isReplayed && !isForBrowsers) return ['a browser cannot read the replay'];
  if (isReplayed) {
    return [
      ...(status === 201 ? [] : ['a replay has another status than the answer']),
      ...(cookie === undefined ? [] : ['a replay sets a cookie']),
      ...(added === undefined || execution?.startsWith(`${added} `)
        ? []
        : ['a replay has the headers of another call']),
    ];
  }
  return [
    ...(isOwn ? [] : ['it is the answer of another call, and is not marked as replayed']),
    ...(cookie === `session=${execution}` ? [] : ['an answer lost its cookie']),
  ];
}

/** A commit's answer is replayed with what other middlewares added to it, from when that was written; where that failed, without. */
function unlikeAmended(history: History, answer: HttpAnswer): string[] {
  const { executions, transitions } = history;
  const { call, isReplayed, isCommitted, added } = answer;
  const execution = executions.find(({ id }) => id === answer.execution);
  if (!isCommitted || !execution?.isGuarded) return [];
  const amendment = transitions.find(
    (one) => one.pk === execution.pk && one.call === execution.call && isAmendment(one),
  );
  if (!isReplayed) {
    const isTold = call.observed.some(({ type }) => type === 'unrecorded');
    const isToBeThere = added !== undefined && !isTold && !history.facts(failedSeals).includes(call);
    return isToBeThere && !amendment ? ['what was added to it was not written, and nobody was told'] : [];
  }
  const amendedAtMs = amendment?.atMs ?? Number.POSITIVE_INFINITY;
  // A cache keeps no answer that may still be amended, as far as its clock can tell.
  const isSkewed = Math.abs(aheadMs(call) - aheadMs(execution)) > 1_000;
  const isFromCache = call.requests === 0 && isSkewed;
  if (added === undefined && amendedAtMs <= call.startedAtMs && !isFromCache) {
    return ['a replay lost what was amended'];
  }
  if (added !== undefined && amendedAtMs > (call.endedAtMs ?? Number.POSITIVE_INFINITY)) {
    return ['a replay has what was not amended yet'];
  }
  return [];
}

const isAmendment = ({ before, after }: Transition): boolean =>
  before?.status === 'COMPLETED' && after?.status === 'COMPLETED' && before.owner === after.owner;

const aheadMs = ({ startedAtClockMs, startedAtMs }: Call | Execution): number =>
  startedAtClockMs - startedAtMs;
