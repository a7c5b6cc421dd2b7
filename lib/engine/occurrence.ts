/** What an observer is told of a claim and of its settlement. */
import type { Occurrence } from '../observe/index.ts';
import type { UnavailableReason } from '../record.ts';
import type { Claimed, Settled } from './protocol.ts';

/** What came of a claim that was asked for at `startedAtMs`. */
export function claimOccurrence(
  operation: string,
  claimed: Claimed,
  nowMs: number,
  startedAtMs: number,
): Occurrence | undefined {
  const durationMs = nowMs - startedAtMs;
  switch (claimed.outcome) {
    case 'unreachable':
      return undefined;
    case 'won': {
      const { number: attempt, createdAtMs } = claimed.attempt;
      if (!claimed.takenOver) return { type: 'claim', operation, attempt, durationMs };
      return { type: 'takeover', operation, attempt, durationMs, ageMs: nowMs - createdAtMs };
    }
    case 'mismatch': {
      const { attempt, createdAtMs } = claimed.record;
      return { type: 'mismatch', operation, attempt, durationMs, ageMs: nowMs - createdAtMs };
    }
    case 'replay': {
      const { attempt, completedAtMs = nowMs } = claimed.record;
      return { type: 'replay', operation, attempt, durationMs, ageMs: nowMs - completedAtMs };
    }
    case 'busy': {
      const { attempt = 1, createdAtMs = nowMs, leaseUntilMs = nowMs } = claimed.record ?? {};
      const leaseLeftMs = Math.max(0, leaseUntilMs - nowMs);
      return { type: 'busy', operation, attempt, durationMs, ageMs: nowMs - createdAtMs, leaseLeftMs };
    }
  }
}

/** What an observer is told of a settlement that went as it should. */
export type Settlement =
  | { type: 'complete'; answerBytes: number; unavailable?: UnavailableReason; cause?: unknown }
  | { type: 'release' };

export function settledOccurrence(
  settled: Settled,
  whenDone: Settlement,
): Settlement | { type: 'unrecorded'; cause: unknown } | { type: 'overtaken' } {
  switch (settled.outcome) {
    case 'done':
      return whenDone;
    case 'unrecorded':
      return { type: 'unrecorded', cause: settled.cause };
    case 'replay':
    case 'overtaken':
      return { type: 'overtaken' };
  }
}
