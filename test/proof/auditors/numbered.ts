/** What numbered senders are promised beyond what every operation is: once and in order, gaps told, older epochs fenced. */
import { IdempotencyError, type RecordSummary } from '../../../lib/index.ts';
import { type Auditor, type Call, type Execution, type History, kindOfFact } from '../simulation/history.ts';
import type { SenderItem } from '../simulation/sender-item.ts';
import { attempts, attemptsBut } from './attempts.ts';
import { auditors } from './index.ts';
import { stuck, stuckBut } from './stuck.ts';

/** A sender's item was changed by one request. */
export interface SenderChange {
  readonly atMs: number;
  readonly sender: string;
  readonly before: SenderItem | undefined;
  readonly after: SenderItem | undefined;
  /** What the sender's clock said when it sent the request. */
  readonly sentAtClockMs: number;
  readonly call: Call | undefined;
}

export const senderChanges = kindOfFact<SenderChange>('changes of senders');

/** Which place a call asks for. */
export interface PlaceAsked {
  readonly call: string;
  readonly sender: string;
  readonly epoch: number;
  readonly number: number;
}

export const placesAsked = kindOfFact<PlaceAsked>('places asked for');

const inOrder: Auditor = {
  promise: 'numbers are done one after the other, none is skipped, and no epoch comes back',
  audit: (history) =>
    history.facts(senderChanges).flatMap((change) => {
      const problem = problemOf(change);
      return problem ? [`${change.sender}: ${problem}, by ${change.call?.id} at ${change.atMs}`] : [];
    }),
};

function problemOf({ before, after, sentAtClockMs }: SenderChange): string | undefined {
  if (!after) return 'a sender was forgotten';
  if (!before) return after.last > 0 ? 'a sender began with a later number' : undefined;
  if (after.epoch < before.epoch) return 'an older epoch came back';
  if (after.epoch > before.epoch) {
    if (after.last > 0) return 'an epoch began with a later number';
    const holds = before.leaseUntilMs !== undefined && before.leaseUntilMs > sentAtClockMs;
    return holds ? 'an epoch ended an attempt before its lease was over' : undefined;
  }
  if (after.last < before.last) return 'a number that was done was forgotten';
  return after.last > before.last + 1 ? 'a number was skipped' : undefined;
}

/** There are no windows: what is done once is never done again. */
const once: Auditor = {
  promise: 'no number is done twice',
  audit: (history) => {
    const done = new Map<string, string>();
    return history.committed.flatMap(({ pk, execution: id }) => {
      if (history.executions.find((one) => one.id === id)?.isGuarded === false) return [];
      const first = done.get(pk);
      done.set(pk, id);
      return first === undefined ? [] : [`${first} and ${id} are one number, and both had their effect`];
    });
  },
};

const fenced: Auditor = {
  promise: 'once a newer epoch has begun, an older one does nothing any more',
  audit: (history) => {
    const places = new Map(history.facts(placesAsked).map((place) => [place.call, place]));
    const begun = (place: PlaceAsked) =>
      history
        .facts(senderChanges)
        .find(({ sender, after }) => sender === place.sender && (after?.epoch ?? 0) > place.epoch)?.atMs ??
      Number.POSITIVE_INFINITY;
    const isLate = ({ call, isGuarded }: Execution, atMs: number) => {
      const place = places.get(call.id);
      return isGuarded && place !== undefined && atMs > begun(place);
    };
    return [
      ...history.executions
        .filter((one) => isLate(one, one.claimedAtMs ?? 0))
        .map(({ id }) => `${id} was claimed after a newer epoch had begun`),
      ...history.committed.flatMap(({ execution: id, atMs }) => {
        const execution = history.executions.find((one) => one.id === id);
        return execution && isLate(execution, atMs)
          ? [`${id} had its effect after a newer epoch had begun`]
          : [];
      }),
    ];
  },
};

/** What a caller is told of a sender was so at some time before its call ended. */
const told: Auditor = {
  promise: 'gaps and fences are told as they are',
  audit: (history) => {
    const calls = new Map(history.calls.map((call) => [call.id, call]));
    return history.facts(placesAsked).flatMap((place) => {
      const call = calls.get(place.call);
      const error = call?.outcome?.kind === 'failed' ? call.outcome.error : undefined;
      if (!call || !IdempotencyError.is(error)) return [];
      const seen = itemsUntil(history, place.sender, call.endedAtMs ?? 0);
      if (error.code === 'FENCED') {
        const isFenced = seen.some((item) => (item?.epoch ?? 0) > place.epoch);
        return isFenced ? [] : [`${call.id} was fenced by nobody`];
      }
      if (error.code !== 'SEQUENCE_GAP') return [];
      const wasSo = seen.some(
        (item) =>
          error.expectedNumber === expectedBy(item, place.epoch) && error.expectedNumber !== place.number,
      );
      return wasSo
        ? []
        : [`${call.id} asked for ${place.number}, and was told to send ${error.expectedNumber}`];
    });
  },
};

const expectedBy = (item: SenderItem | undefined, epoch: number): number =>
  item === undefined || item.epoch < epoch ? 0 : item.last + 1;

/** The sender's item at each moment, and that there was none at first. */
const itemsUntil = (history: History, sender: string, atMs: number): (SenderItem | undefined)[] => [
  undefined,
  ...history
    .facts(senderChanges)
    .filter((change) => change.sender === sender && change.atMs <= atMs)
    .map(({ after }) => after),
];

/** An older answer is forgotten, and the caller is told so. */
const isForgotten = (history: History, call: Call, error: unknown): boolean => {
  const place = history.facts(placesAsked).find((one) => one.call === call.id);
  const item = place && itemsUntil(history, place.sender, call.endedAtMs ?? 0).at(-1);
  return (
    IdempotencyError.is(error, 'RESULT_UNAVAILABLE') &&
    place !== undefined &&
    item?.epoch === place.epoch &&
    place.number <= item.last - 5
  );
};

/**
 * A number that is done has no lease of its own, and one whose answer is forgotten nothing but that. A newer epoch is told of the
 * older one's attempt, which it waits for. Who is overtaken by a newer epoch is told of nobody's attempt.
 */
function wasPlace(history: History, call: Call, told: RecordSummary): boolean {
  const place = history.facts(placesAsked).find((one) => one.call === call.id);
  if (place === undefined) return false;
  const endedAtMs = call.endedAtMs ?? 0;
  const seen = itemsUntil(history, place.sender, endedAtMs);
  const isForgottenNow = seen.some((item) => item?.epoch === place.epoch && place.number <= item.last - 5);
  if (new Date(told.createdAt).getTime() === 0) {
    return told.status === 'COMPLETED'
      ? isForgottenNow
      : seen.some((item) => (item?.epoch ?? 0) > place.epoch);
  }
  return history.transitions.some(({ pk, atMs, after }) => {
    if (after?.status !== told.status || after.attempt !== told.attempt || atMs > endedAtMs) return false;
    if (told.status === 'COMPLETED') return call.pks.has(pk);
    const isOlder = pk.startsWith(`${place.sender}:`) && epochIn(pk) < place.epoch;
    return isOlder && after.leaseUntilMs === new Date(told.leaseUntil).getTime();
  });
}

const epochIn = (pk: string): number => Number(pk.split(':').at(-2));

export const numberedAuditors: readonly Auditor[] = [
  ...auditors.filter((auditor) => auditor !== stuck && auditor !== attempts),
  ...[stuckBut(isForgotten), attemptsBut(wasPlace)],
  ...[inOrder, once, fenced, told],
];
