/** What an HTTP API's callers are promised beyond the answer itself. */
import { type Auditor, type Call, kindOfFact } from '../simulation/history.ts';

/** An answer as a client over HTTP has read it. */
export interface HttpAnswer {
  readonly call: Call;
  readonly profile: 'problem' | 'stripe' | 'told';
  readonly status: number;
  /** Whose answer it is; absent of a refusal. */
  readonly execution: string | undefined;
  readonly code: string | undefined;
  readonly retryAfter: string | undefined;
  readonly isReplayed: boolean;
  readonly isForBrowsers: boolean;
  readonly cookie: string | undefined;
  readonly added: string | undefined;
}

export const httpAnswers = kindOfFact<HttpAnswer>('answers over HTTP');

export const http: Auditor = {
  promise: 'an answer over HTTP is as the contract has it',
  audit: (history) =>
    history
      .facts(httpAnswers)
      .flatMap((answer) =>
        (answer.execution === undefined ? problemsOfRefusal(answer) : problemsOfAnswer(answer)).map(
          (problem) => `${answer.call.id} (${answer.status}, ${answer.code}): ${problem}`,
        ),
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
