/** What a simulation is told: every parameter with its unit, its bounds and what it must be. */
import { isBetween, isBoolean, isOneOf, type Rule, type Rules } from '../validate.ts';

export const levels = ['none', 'guarded', 'stepped', 'committed'] as const;
export type Level = (typeof levels)[number];

export const keyKinds = ['uuid-v7', 'uuid-v4', 'short', 'order', 'constant'] as const;
export type KeyKind = (typeof keyKinds)[number];

/** All parameters of a simulation. Rates are shares from 0 to 1. */
export interface SimulationSettings {
  /** The same seed and settings give the same run. A whole number from 0 to 2³² − 1. */
  readonly seed: number;
  /** How many operations callers intend. */
  readonly operations: number;
  /** Operations per second, on average. Arrivals are random (Poisson). */
  readonly arrivalsPerSecond: number;
  /** How many operations arrive at the same moment. 1: each by itself. */
  readonly burstSize: number;
  /**
   * `client`: a caller that waits, and asks again after a pause. `queue`: a message that is delivered again after its visibility
   * timeout, until a delivery succeeds.
   */
  readonly delivery: 'client' | 'queue';
  /** How often one operation is sent at most: a client's retry budget, a queue's receive count. The first time counts. */
  readonly maxAttempts: number;
  /** How long a client waits for an answer before it asks again. */
  readonly clientTimeoutMs: number;
  /** A client's pause before its second request. It doubles for each further one, and a random part of half of it is cut. */
  readonly backoffMs: number;
  /** The longest pause. */
  readonly backoffMaxMs: number;
  /** When a queue delivers a message again that was not processed. */
  readonly visibilityTimeoutMs: number;
  /** How often a request is sent twice at once: a double click, a message that is delivered twice. */
  readonly doubleSendRate: number;
  /** How much later the second one of a double sending goes out. */
  readonly doubleSendGapMs: number;
  /** The network, one way: median and 99th percentile. */
  readonly networkP50Ms: number;
  readonly networkP99Ms: number;
  /** How often a request never arrives. */
  readonly requestLossRate: number;
  /** How often an answer never arrives. */
  readonly answerLossRate: number;
  /** How often a request or an answer comes late. */
  readonly lateRate: number;
  /** How much later it comes. */
  readonly lateMs: number;
  /** How many execution environments are warm. More are started when all of them are busy. */
  readonly environments: number;
  /** How far an environment's clock is off at most, either way. */
  readonly clockSkewMs: number;
  /** When a running function is killed. */
  readonly functionTimeoutMs: number;
  /** The handler's own time: median and 99th percentile. */
  readonly handlerP50Ms: number;
  readonly handlerP99Ms: number;
  /** How often a function crashes before its effect. */
  readonly crashBeforeRate: number;
  /** How often a function crashes after its effect, and before it has returned. */
  readonly crashAfterRate: number;
  /** How often a handler throws after its effect, because it got no answer to it. */
  readonly throwRate: number;
  /** How often a handler hangs after its effect, until the function is killed. */
  readonly overrunRate: number;
  /** What a caller sends as the key. `order`: the order's number. `short`: a random number of `keyBits` bits. */
  readonly key: KeyKind;
  /** The length of short keys, from 1 to 48 bits. */
  readonly keyBits: number;
  /** How often an operation is a second, intended charge of an earlier order. Its payload may be the same. */
  readonly repeatedOrderRate: number;
  /** How the handler is written. `none`: without idemkit. `stepped`: the effect is a step. `committed`: it is a write of the commit. */
  readonly level: Level;
  /** How many completed answers each environment keeps in memory. 0: none. */
  readonly cacheItems: number;
  /** `ttlSeconds` of the guard: how long a key is remembered. */
  readonly windowSeconds: number;
  /** `lease` of the guard. 0: the function's remaining time and one second, which is the guard's default. */
  readonly leaseSeconds: number;
  /** How long a repeat waits for the running call's answer. 0: it is refused at once. */
  readonly waitForResultMs: number;
  /** Whether the effect's service knows tokens: `stepped` then acts once. */
  readonly downstreamKnowsTokens: boolean;
  /** A request to DynamoDB: median and 99th percentile. */
  readonly storeP50Ms: number;
  readonly storeP99Ms: number;
  /** The size of an answer, in bytes of JSON that does not compress. */
  readonly answerBytes: number;
}

const isWhole = (value: unknown, least: number, most: number): boolean =>
  Number.isSafeInteger(value) && (value as number) >= least && (value as number) <= most;

const whole = (least: number, most: number): Rule<number> => ({
  expected: `a whole number from ${least} to ${most}`,
  isFine: (value) => isWhole(value, least, most),
});

const share: Rule<number> = {
  expected: 'a share from 0 to 1, e.g. 0.01 for one in a hundred',
  isFine: (value) => value === 0 || isBetween(value, 0, 1),
};

const dayMs = 86_400_000;

const milliseconds = (most = dayMs): Rule<number> => ({
  expected: `milliseconds from 0 to ${most}`,
  isFine: (value) => value === 0 || isBetween(value, 0, most),
});

export const oneOf = <Value extends string>(...values: readonly Value[]): Rule<Value> => ({
  expected: `one of ${values.join(', ')}`,
  isFine: isOneOf(...values),
});

/** What each parameter must be. The page and the command line read it too. */
export const settingRules = {
  seed: whole(0, 2 ** 32 - 1),
  operations: whole(1, 100_000_000),
  arrivalsPerSecond: {
    expected: 'more than 0 and at most 100000 per second',
    isFine: (value) => isBetween(value, 0, 100_000),
  },
  burstSize: whole(1, 10_000),
  delivery: oneOf('client', 'queue'),
  maxAttempts: whole(1, 1000),
  clientTimeoutMs: whole(1, dayMs),
  backoffMs: milliseconds(),
  backoffMaxMs: milliseconds(),
  visibilityTimeoutMs: whole(1, dayMs),
  doubleSendRate: share,
  doubleSendGapMs: milliseconds(),
  networkP50Ms: milliseconds(),
  networkP99Ms: milliseconds(),
  requestLossRate: share,
  answerLossRate: share,
  lateRate: share,
  lateMs: milliseconds(),
  environments: whole(1, 10_000),
  clockSkewMs: milliseconds(3_600_000),
  functionTimeoutMs: whole(1, 900_000),
  handlerP50Ms: milliseconds(),
  handlerP99Ms: milliseconds(),
  crashBeforeRate: share,
  crashAfterRate: share,
  throwRate: share,
  overrunRate: share,
  key: oneOf(...keyKinds),
  keyBits: whole(1, 48),
  repeatedOrderRate: share,
  level: oneOf(...levels),
  cacheItems: whole(0, 1_000_000),
  windowSeconds: {
    expected: 'seconds, more than 0 and at most ten years',
    isFine: (value) => isBetween(value, 0, 10 * 366 * 86_400),
  },
  leaseSeconds: {
    expected: 'seconds from 0 to 86400; 0 is the guard’s default',
    isFine: (value) => value === 0 || isBetween(value, 0, 86_400),
  },
  waitForResultMs: milliseconds(900_000),
  downstreamKnowsTokens: { expected: 'true or false', isFine: isBoolean },
  storeP50Ms: milliseconds(),
  storeP99Ms: milliseconds(),
  answerBytes: whole(0, 1_000_000),
} satisfies Rules<SimulationSettings>;
