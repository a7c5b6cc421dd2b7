import type { Context } from 'aws-lambda';
import type { Settings } from './settings.ts';

/** How long a claim made now holds, and how long its maker has. */
export interface Lease {
  /** From the claim to its end, the margin included. */
  durationMs(): number;
  /** Allowance for clocks that differ: a claim answered later than this before its end is not used. */
  readonly marginMs: number;
  /** Until the invocation is killed; infinite where no deadline is known. */
  timeLeftMs(): number;
}

/** Lambda's longest run is 900 s. */
const longestInvocationMs = 900_000;
const defaultLeaseMs = 60_000;
const clockSkewMs = 1_000;

/** How long a claim made under `context` holds: until the invocation is killed, and a margin for clocks that differ. */
export function leaseOf({ leaseMs }: Settings, context: Context | undefined): Lease {
  const remainingMs = remainingTimeOf(context);
  const timeLeftMs = remainingMs ?? (() => Number.POSITIVE_INFINITY);
  if (leaseMs !== undefined) {
    return { durationMs: () => leaseMs, marginMs: Math.min(clockSkewMs, leaseMs / 2), timeLeftMs };
  }
  return {
    durationMs: () => (remainingMs ? remainingMs() + clockSkewMs : withoutContextMs()),
    marginMs: clockSkewMs,
    timeLeftMs,
  };
}

const withoutContextMs = (): number =>
  process.env.AWS_LAMBDA_FUNCTION_NAME ? longestInvocationMs + clockSkewMs : defaultLeaseMs;

/** What tells how many milliseconds the invocation has left, where somebody knows. */
export const remainingTimeOf = (context: Context | undefined): (() => number) | undefined =>
  typeof context?.getRemainingTimeInMillis === 'function'
    ? () => context.getRemainingTimeInMillis()
    : undefined;
