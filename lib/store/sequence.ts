/** Judges the place of an operation in its sender's sequence, for every store alike. */
import { IdempotencyError } from '../errors.ts';
import type { ClaimRecord, SequencePlace } from './store.ts';

/** How many of a sender's answers are kept. Kafka keeps the last five batches of a producer. */
export const keptAnswers = 5;

/**
 * The end of a window that does not end: what a sender has numbered is never a new operation. It is the last moment that a
 * `Date` can hold, because errors and logs show it as one.
 */
export const neverMs = 8_640_000_000_000_000;

/** A sender, as its item holds it. */
export interface Sender {
  readonly epoch: number;
  /** The highest completed number; `undefined` where none is. */
  readonly last: number | undefined;
  /** Of the attempt in flight; where there is none, of the last one. */
  readonly leaseUntilMs: number;
  /** The record of a number of this epoch, if the item still has it. */
  recordOf(number: number): ClaimRecord | undefined;
}

/** What a place is against its sender's item. */
export type Placed =
  | { readonly kind: 'record'; readonly found: ClaimRecord | undefined }
  /** A newer epoch has taken over. */
  | { readonly kind: 'fenced'; readonly leaseUntilMs: number }
  | { readonly kind: 'gap'; readonly expectedNumber: number };

/** The number that a sender's next operation has. */
export const nextNumber = ({ last }: Pick<Sender, 'last'>): number => (last === undefined ? 0 : last + 1);

/** The rows of {@link SequencePlace}'s table. */
export function placed(place: SequencePlace, pk: string, sender: Sender | undefined): Placed {
  const { epoch, number, startsAnywhere } = place;
  if (sender === undefined) {
    return number === 0 || startsAnywhere ? record(undefined) : { kind: 'gap', expectedNumber: 0 };
  }
  const next = nextNumber(sender);
  const inFlight = sender.recordOf(next);
  if (epoch < sender.epoch) return { kind: 'fenced', leaseUntilMs: sender.leaseUntilMs };
  if (epoch > sender.epoch) {
    if (number > 0) return { kind: 'gap', expectedNumber: 0 };
    return record(inFlight?.status === 'IN_PROGRESS' ? ofOlderEpoch(inFlight, pk) : undefined);
  }
  if (number > next) return { kind: 'gap', expectedNumber: next };
  if (number === next) return record(inFlight && { ...inFlight, pk });
  const kept = number >= next - keptAnswers ? sender.recordOf(number) : undefined;
  return record(kept ? done(kept, pk, number === sender.last ? sender.leaseUntilMs : 0) : forgotten(pk));
}

const record = (found: ClaimRecord | undefined): Placed => ({ kind: 'record', found });

/**
 * A number that is done has no window that ends. To keep the item small, it does not tell when it was begun, and only the last one
 * tells of its lease: as long as that holds, other middlewares may add to the answer of a commit.
 */
const done = (kept: ClaimRecord, pk: string, leaseUntilMs: number): ClaimRecord => ({
  ...kept,
  ...{ pk, leaseUntilMs, endsAtMs: neverMs },
  createdAtMs: kept.completedAtMs ?? 0,
});

/**
 * A newer epoch waits for the lease of an older epoch's attempt, and begins anew after it. It never takes that attempt over: its
 * steps belong to another operation. So the window is over, and nothing is compared with its fingerprint.
 */
const ofOlderEpoch = ({ fingerprint: _, ...inFlight }: ClaimRecord, pk: string): ClaimRecord => ({
  ...inFlight,
  pk,
  endsAtMs: 0,
});

/** It was done, and nothing else is known of it. */
const forgotten = (pk: string): ClaimRecord => ({
  ...{ pk, status: 'COMPLETED', owner: '', window: '', attempt: 1, leaseUntilMs: 0 },
  ...{ createdAtMs: 0, completedAtMs: 0, endsAtMs: neverMs },
  answer: { kind: 'unavailable', reason: 'forgotten' },
});

/**
 * What a claim meets at its place.
 *
 * @throws `FENCED`, `SEQUENCE_GAP`
 */
export function metByClaim(met: Placed): ClaimRecord | undefined {
  switch (met.kind) {
    case 'record':
      return met.found;
    case 'fenced':
      throw new IdempotencyError(
        'FENCED',
        'A newer epoch of this sender has taken over. Nothing has been done. Stop sending in this epoch; a sender that is to go on begins a higher one.',
      );
    case 'gap':
      throw new IdempotencyError(
        'SEQUENCE_GAP',
        `The operation before this one has not been completed: the sender's next number is ${met.expectedNumber}. Nothing has been done; send number ${met.expectedNumber} first, then this one again.`,
        { expectedNumber: met.expectedNumber, retryAfterSeconds: 1 },
      );
  }
}

/**
 * What an owner's write meets at its place. An owner has won its place, so that a newer epoch or another count stands there now
 * means that it was overtaken: it is shown a record of somebody else.
 */
export function metByOwner(met: Placed, pk: string): ClaimRecord | undefined {
  switch (met.kind) {
    case 'record':
      return met.found;
    case 'fenced':
      return {
        ...{ pk, status: 'IN_PROGRESS', owner: '', window: '', attempt: 1 },
        ...{ leaseUntilMs: met.leaseUntilMs, createdAtMs: 0, endsAtMs: neverMs },
      };
    case 'gap':
      return undefined;
  }
}
