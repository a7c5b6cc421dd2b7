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
  if (claimed.outcome === 'unreachable') return undefined;
  const isWon = claimed.outcome === 'won';
  const attempt = isWon ? claimed.attempt.number : (claimed.record?.attempt ?? 1);
  const { createdAtMs = nowMs } = (isWon ? claimed.attempt : claimed.record) ?? {};
  const told = { operation, attempt, durationMs: nowMs - startedAtMs };
  const ageMs = nowMs - createdAtMs;
  switch (claimed.outcome) {
    case 'won':
      return claimed.takenOver ? { type: 'takeover', ...told, ageMs } : { type: 'claim', ...told };
    case 'mismatch':
      return { type: 'mismatch', ...told, ageMs };
    case 'replay':
      return { type: 'replay', ...told, ageMs: nowMs - (claimed.record.completedAtMs ?? nowMs) };
    case 'busy': {
      const leaseLeftMs = Math.max(0, (claimed.record?.leaseUntilMs ?? nowMs) - nowMs);
      return { type: 'busy', ...told, ageMs, leaseLeftMs };
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
