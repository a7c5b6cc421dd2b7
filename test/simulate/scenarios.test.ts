/** Small cases that can be counted by hand. */
import { describe, expect, test } from 'vitest';
import { type SimulationSettings, settingsFrom, simulate, type TimeLine } from '../../lib/simulate/index.ts';

const calm: Partial<SimulationSettings> = {
  ...{ operations: 50, doubleSendRate: 0, requestLossRate: 0, answerLossRate: 0, lateRate: 0 },
  ...{ crashBeforeRate: 0, crashAfterRate: 0, throwRate: 0, overrunRate: 0, clockSkewMs: 0 },
  ...{ networkP50Ms: 10, networkP99Ms: 10, handlerP50Ms: 100, handlerP99Ms: 100 },
  ...{ storeP50Ms: 5, storeP99Ms: 5, waitForResultMs: 0, arrivalsPerSecond: 1 },
};

const run = (changes: Partial<SimulationSettings>) =>
  simulate(settingsFrom('pay-button', { ...calm, ...changes }));
const guarded = async (changes: Partial<SimulationSettings>) => (await run(changes)).lanes.with!;

describe('an operation that is sent twice at once', () => {
  test('is refused while the first call runs, and that is nobody’s error', async () => {
    const { lanes } = await run({ doubleSendRate: 1, doubleSendGapMs: 50 });
    expect(lanes.without.counts).toMatchObject({ calls: 100, effects: 100, doubleEffects: 50 });
    expect(lanes.with?.counts).toMatchObject({ calls: 100, runs: 50, effects: 50, answered: 50 });
    expect(lanes.with?.counts.observed).toMatchObject({ claim: 50, busy: 50, replay: 0 });
    expect(lanes.with?.metrics.duplicate_detection_rate).toBe(50);
  });

  test('waits for the first call’s answer where the guard is told to', async () => {
    const { counts } = await guarded({ doubleSendRate: 1, doubleSendGapMs: 50, waitForResultMs: 1_000 });
    expect(counts.observed).toMatchObject({ claim: 50, busy: 0, replay: 50 });
  });

  test('is answered from memory by the one environment that has its answer', async () => {
    const settings = { doubleSendRate: 1, doubleSendGapMs: 500, environments: 1, arrivalsPerSecond: 0.02 };
    const without = await guarded(settings);
    const cached = await guarded({ ...settings, cacheItems: 10 });
    // A claim, a completion, and the claim of the repeat.
    expect(without.counts).toMatchObject({ storeRequests: 150, writeUnits: 150 });
    expect(cached.counts).toMatchObject({ storeRequests: 100, writeUnits: 100 });
    expect(cached.counts.observed.replay).toBe(50);
  });
});

describe('a function that is killed at its timeout', () => {
  const hanging = { overrunRate: 1, functionTimeoutMs: 2_000, maxAttempts: 2 };

  test('has its operation taken over once its lease is over', async () => {
    const { counts } = await guarded({ ...hanging, backoffMs: 10_000, backoffMaxMs: 10_000 });
    expect(counts).toMatchObject({
      timeouts: 100,
      runs: 100,
      effects: 100,
      doubleEffects: 50,
      abandoned: 50,
    });
    expect(counts.observed).toMatchObject({ claim: 50, takeover: 50, complete: 0 });
  });

  test('keeps its operation until then', async () => {
    // The retry comes at once, and the lease has a second left.
    const { counts } = await guarded({ ...hanging, backoffMs: 0 });
    expect(counts).toMatchObject({ timeouts: 50, runs: 50, effects: 50, doubleEffects: 0 });
    expect(counts.observed).toMatchObject({ claim: 50, busy: 50, takeover: 0 });
  });

  test('doubles its effect where the lease is shorter than the handler', async () => {
    const slow = { handlerP50Ms: 6_000, handlerP99Ms: 6_000, clientTimeoutMs: 2_000, backoffMs: 1_000 };
    const short = await guarded({ ...slow, maxAttempts: 2, leaseSeconds: 1 });
    const long = await guarded({ ...slow, maxAttempts: 2, leaseSeconds: 10 });
    expect(short.counts).toMatchObject({ effects: 100, doubleEffects: 50 });
    expect(short.counts.observed.overtaken).toBe(50);
    expect(long.counts).toMatchObject({ effects: 50, doubleEffects: 0 });
  });
});

test.each([
  // A claim and a completion; a step's record more; a claim, a completion in a transaction, and what that adds to the charge.
  ['guarded', 2],
  ['stepped', 3],
  ['committed', 4],
] as const)(
  'an operation at the level %s takes %i write units, as the page on costs says',
  async (level, units) => {
    const { metrics } = await guarded({ level });
    expect(metrics).toMatchObject({ writeUnitsPerOperation: units, dollarsPerMillion: units * 0.625 });
  },
);

test('an answer that is larger than a write unit costs more to store', async () => {
  expect((await guarded({ answerBytes: 3_000 })).metrics.writeUnitsPerOperation).toBeGreaterThan(3);
});

describe('a queue', () => {
  const queue = { delivery: 'queue', visibilityTimeoutMs: 30_000, maxAttempts: 3 } as const;

  test('delivers again after the visibility timeout, and gives up at its receive count', async () => {
    const { lanes } = await run({ ...queue, throwRate: 1 });
    expect(lanes.without.counts).toMatchObject({
      calls: 150,
      effects: 150,
      doubleEffects: 100,
      abandoned: 50,
    });
    // Nothing was begun under the claim that a guard could know of: it is given back, and claimed anew.
    expect(lanes.with?.counts.observed).toMatchObject({ claim: 150, takeover: 0, release: 150 });
  });

  test('delivers what was processed again where its deletion is lost', async () => {
    const { lanes } = await run({ ...queue, answerLossRate: 1 });
    expect(lanes.without.counts).toMatchObject({ calls: 150, effects: 150 });
    expect(lanes.with?.counts).toMatchObject({ calls: 150, effects: 50, doubleEffects: 0 });
  });
});

describe('a lost request', () => {
  test('is sent again after the client has waited, and nothing has happened before', async () => {
    const { lanes } = await run({ requestLossRate: 1, maxAttempts: 3, clientTimeoutMs: 1_000, backoffMs: 0 });
    for (const { counts } of [lanes.without, lanes.with!]) {
      expect(counts).toMatchObject({
        requests: 150,
        calls: 0,
        effects: 0,
        abandoned: 50,
        abandonedWithEffect: 0,
      });
    }
  });

  test('that comes late is still a repeat', async () => {
    const { counts } = await guarded({
      lateRate: 1,
      lateMs: 3_000,
      clientTimeoutMs: 2_000,
      backoffMs: 0,
      maxAttempts: 2,
    });
    expect(counts).toMatchObject({ requests: 100, calls: 100, effects: 50, doubleEffects: 0 });
  });
});

test('a downstream that knows no tokens is charged again by a repeated step', async () => {
  const crashing = { level: 'stepped', throwRate: 1, maxAttempts: 2, backoffMs: 3_000 } as const;
  expect((await guarded(crashing)).counts).toMatchObject({ runs: 100, effects: 50 });
  expect((await guarded({ ...crashing, downstreamKnowsTokens: false })).counts).toMatchObject({
    effects: 100,
  });
});

test('a constant key lets one operation through, and refuses all others', async () => {
  const { counts, metrics } = await guarded({ key: 'constant' });
  expect(counts).toMatchObject({ effects: 1, answered: 1, refused: 49, lostEffects: 0 });
  expect(metrics.idempotency_key_collision_pct).toBe(98);
});

test('bursts arrive together', async () => {
  const report = await run({ burstSize: 25, arrivalsPerSecond: 10, level: 'none', doubleSendRate: 1 });
  const sent = report.timeLines.map(({ lanes }) => lanes[0]?.events[0]?.atMs);
  expect(new Set(sent).size).toBe(1);
});

describe('time lines', () => {
  const kinds = ({ lanes }: TimeLine) => lanes.map(({ events }) => events.map(({ kind }) => kind));

  test('show in order why an operation was doubled, in both lanes', async () => {
    const { timeLines } = await run({ operations: 1, answerLossRate: 1, maxAttempts: 2 });
    const attempt = ['sent', 'arrived', 'began', 'effect', 'answered', 'answer-lost', 'timed-out'];
    expect(kinds(timeLines[0]!)).toEqual([
      [...attempt, ...attempt.map((kind) => (kind === 'effect' ? 'effect-again' : kind)), 'gave-up'],
      [
        ...[
          'sent',
          'arrived',
          'claim',
          'began',
          'effect',
          'complete',
          'answered',
          'answer-lost',
          'timed-out',
        ],
        ...['sent', 'arrived', 'replay', 'answered', 'answer-lost', 'timed-out', 'gave-up'],
      ],
    ]);
    expect(timeLines[0]).toMatchObject({ operation: 0, because: 'doubled' });
    expect(timeLines[0]?.lanes.map(({ effects }) => effects)).toEqual([2, 1]);
  });

  test('are at most twenty, doubled ones first', async () => {
    const { timeLines } = await run({ operations: 200, answerLossRate: 0.3, requestLossRate: 0.3 });
    expect(timeLines).toHaveLength(20);
    const doubled = timeLines.filter(({ because }) => because === 'doubled');
    expect(timeLines.slice(0, doubled.length)).toEqual(doubled);
    expect(doubled.length).toBeGreaterThan(5);
  });
});
