import { mixed } from './chance.ts';

/** What a number is drawn for. What is drawn for one purpose changes no other. */
export const purpose = {
  arrival: 1,
  repeatedOrder: 2,
  order: 3,
  amount: 4,
  doubleSend: 5,
  requestLost: 6,
  requestLate: 7,
  requestDelay: 8,
  answerLost: 9,
  answerLate: 10,
  answerDelay: 11,
  backoff: 12,
  environment: 13,
  handlerTime: 14,
  fault: 15,
  skew: 16,
  store: 17,
  key: 18,
  keyLow: 19,
  engine: 20,
} as const;

export type Purpose = (typeof purpose)[keyof typeof purpose];

/**
 * Numbers that depend on nothing but the seed, the purpose, and which operation and request they are for. Two runs that differ in
 * one setting therefore meet the same traffic and the same losses, and so do the two lanes of a run.
 */
export class Draws {
  readonly #seed: number;

  constructor(seed: number) {
    this.#seed = mixed(seed | 0);
  }

  /** From 0 up to, not including, 1. */
  fraction(of: Purpose, operation: number, request = 0): number {
    return this.bits(of, operation, request) / 2 ** 32;
  }

  isTrue(of: Purpose, rate: number, operation: number, request = 0): boolean {
    return rate > 0 && this.fraction(of, operation, request) < rate;
  }

  /** From 0 up to, not including, 2³². */
  bits(of: Purpose, operation: number, request = 0): number {
    const place = mixed(this.#seed ^ Math.imul(of, 0x9e3779b1));
    return mixed(mixed(place ^ Math.imul(operation | 0, 0x85ebca77)) ^ Math.imul(request, 0xc2b2ae3d));
  }

  /** Milliseconds of a log-normal distribution, given by its median and its 99th percentile. */
  milliseconds(of: Purpose, { p50Ms, p99Ms }: Latency, operation: number, request = 0): number {
    if (p50Ms <= 0) return 0;
    if (p99Ms <= p50Ms) return p50Ms;
    return p50Ms * (p99Ms / p50Ms) ** (normal(this.fraction(of, operation, request)) / normalAt99);
  }
}

export interface Latency {
  readonly p50Ms: number;
  readonly p99Ms: number;
}

const normalAt99 = 2.3263478740408408;

/**
 * The quantile of the normal distribution, to about nine digits.
 *
 * @see https://web.archive.org/web/20151030215612/http://home.online.no/~pjacklam/notes/invnorm/ Acklam's approximation
 */
export function normal(fraction: number): number {
  const p = Math.min(Math.max(fraction, 1e-9), 1 - 1e-9);
  if (p > 0.5) return -normal(1 - p);
  if (p < 0.02425) {
    const q = Math.sqrt(-2 * Math.log(p));
    return polynomial(tail.above, q) / (polynomial(tail.below, q) * q + 1);
  }
  const q = p - 0.5;
  const r = q * q;
  return (polynomial(middle.above, r) * q) / (polynomial(middle.below, r) * r + 1);
}

const polynomial = (coefficients: readonly number[], at: number): number =>
  coefficients.reduce((sum, coefficient) => sum * at + coefficient, 0);

const middle = {
  above: [
    -3.969683028665376e1, 2.209460984245205e2, -2.759285104469687e2, 1.38357751867269e2, -3.066479806614716e1,
    2.506628277459239,
  ],
  below: [
    -5.447609879822406e1, 1.615858368580409e2, -1.556989798598866e2, 6.680131188771972e1,
    -1.328068155288572e1,
  ],
} as const;

const tail = {
  above: [
    -7.784894002430293e-3, -3.223964580411365e-1, -2.400758277161838, -2.549732539343734, 4.374664141464968,
    2.938163982698783,
  ],
  below: [7.784695709041462e-3, 3.224671290700398e-1, 2.445134137142996, 3.754408661907416],
} as const;
