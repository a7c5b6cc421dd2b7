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
  return new InvocationLease(leaseMs, remainingTimeOf(context));
}

class InvocationLease implements Lease {
  readonly marginMs: number;
  readonly #leaseMs: number | undefined;
  readonly #remainingMs: (() => number) | undefined;

  constructor(leaseMs: number | undefined, remainingMs: (() => number) | undefined) {
    this.marginMs = leaseMs === undefined ? clockSkewMs : Math.min(clockSkewMs, leaseMs / 2);
    this.#leaseMs = leaseMs;
    this.#remainingMs = remainingMs;
  }

  durationMs(): number {
    if (this.#leaseMs !== undefined) return this.#leaseMs;
    return this.#remainingMs ? this.#remainingMs() + clockSkewMs : withoutContextMs();
  }

  timeLeftMs(): number {
    return this.#remainingMs?.() ?? Number.POSITIVE_INFINITY;
  }
}

const withoutContextMs = (): number =>
  process.env.AWS_LAMBDA_FUNCTION_NAME ? longestInvocationMs + clockSkewMs : defaultLeaseMs;

/** What tells how many milliseconds the invocation has left, where somebody knows. */
export const remainingTimeOf = (context: Context | undefined): (() => number) | undefined =>
  typeof context?.getRemainingTimeInMillis === 'function'
    ? () => context.getRemainingTimeInMillis()
    : undefined;
