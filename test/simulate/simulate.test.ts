import { describe, expect, test } from 'vitest';
import {
  type SimulationSettings,
  settingsFrom,
  simulate,
  type TemplateName,
  templateNames,
} from '../../lib/simulate/index.ts';

/** Traffic in which nothing goes wrong. */
const calm: Partial<SimulationSettings> = {
  ...{ operations: 100, doubleSendRate: 0, requestLossRate: 0, answerLossRate: 0, lateRate: 0 },
  ...{ crashBeforeRate: 0, crashAfterRate: 0, throwRate: 0, overrunRate: 0, clockSkewMs: 0 },
  ...{ networkP50Ms: 10, networkP99Ms: 10, handlerP50Ms: 100, handlerP99Ms: 100 },
  ...{ storeP50Ms: 5, storeP99Ms: 5, repeatedOrderRate: 0, cacheItems: 0, waitForResultMs: 0 },
};

const run = (changes: Partial<SimulationSettings>, template: TemplateName = 'pay-button') =>
  simulate(settingsFrom(template, { ...calm, ...changes }));

describe('a simulation', () => {
  test('is the same run for the same seed, byte for byte, and another one for another seed', async () => {
    const settings = settingsFrom('pay-button', {
      operations: 500,
      doubleSendRate: 0.2,
      answerLossRate: 0.1,
    });
    const [one, same, other] = [
      JSON.stringify(await simulate(settings)),
      JSON.stringify(await simulate(settings)),
      JSON.stringify(await simulate({ ...settings, seed: 2 })),
    ];
    expect(same).toBe(one);
    expect(other).not.toBe(one);
  });

  test('has one claim, one run and one effect for each operation where nothing goes wrong', async () => {
    const { lanes } = await run({});
    for (const lane of [lanes.without, lanes.with!]) {
      expect(lane.counts).toMatchObject({
        operations: 100,
        requests: 100,
        calls: 100,
        runs: 100,
        effects: 100,
      });
      expect(lane.counts).toMatchObject({ answered: 100, doubleEffects: 0, lostEffects: 0, abandoned: 0 });
    }
    expect(lanes.with?.counts.observed).toMatchObject({ claim: 100, complete: 100, replay: 0, busy: 0 });
    expect(lanes.without.metrics).toMatchObject({
      latencyP50Ms: 120,
      throughput_rps: 100 / lanes.without.seconds,
    });
    expect(lanes.with?.metrics).toMatchObject({
      ...{ duplicate_detection_rate: 0, idempotency_key_collision_pct: 0, retry_success_rate: null },
      ...{
        throughput_rps: 100 / lanes.with!.seconds,
        latencyP50Ms: 130,
        addedLatencyP50Ms: 10,
        addedLatencyP99Ms: 10,
      },
      // A claim and a completion, at 0.625 dollars for a million write units.
      ...{ writeUnitsPerOperation: 2, dollarsPerMillion: 1.25 },
    });
  });

  test('replays to each repeat whose answer was lost, and runs the handler alone for each', async () => {
    const { lanes } = await run({ answerLossRate: 1, maxAttempts: 3 });
    expect(lanes.without.counts).toMatchObject({ calls: 300, runs: 300, effects: 300, doubleEffects: 200 });
    expect(lanes.with?.counts).toMatchObject({ calls: 300, runs: 100, effects: 100, doubleEffects: 0 });
    expect(lanes.with?.counts.observed).toMatchObject({ claim: 100, replay: 200 });
    expect(lanes.with?.counts).toMatchObject({ answered: 0, abandoned: 100, abandonedWithEffect: 100 });
    expect(lanes.with?.metrics.duplicate_detection_rate).toBeCloseTo((100 * 200) / 300);
  });

  test.each(['guarded', 'stepped', 'committed'] as const)(
    'crashes after every effect at the level %s',
    async (level) => {
      // Each of three attempts crashes; each repeat comes after the lease of the one before.
      const { lanes } = await run({
        ...{ level, crashAfterRate: 1, maxAttempts: 3, functionTimeoutMs: 2_000 },
        ...{ backoffMs: 10_000, backoffMaxMs: 10_000 },
      });
      expect(lanes.without.counts).toMatchObject({ runs: 300, effects: 300, crashes: 300 });
      const expected = {
        guarded: { runs: 300, effects: 300, doubleEffects: 200 },
        stepped: { runs: 300, effects: 100, doubleEffects: 0 },
        // The commit completes the operation, so its repeats are answered.
        committed: { runs: 100, effects: 100, doubleEffects: 0, answered: 100 },
      }[level];
      expect(lanes.with?.counts).toMatchObject(expected);
    },
  );

  test('tells how it goes, and ends with its report', async () => {
    const seen: number[] = [];
    const settings = settingsFrom('pay-button', { ...calm, operations: 300 });
    const report = await simulate(settings, { onProgress: ({ operations }) => seen.push(operations) });
    expect(seen.length).toBeGreaterThan(50);
    expect(seen).toEqual([...seen].sort((one, other) => one - other));
    expect(seen.at(-1)).toBe(300);
    expect(report.series.length).toBeLessThanOrEqual(100);
    expect(report.series.at(-1)?.lanes.with?.counts).toEqual(report.lanes.with?.counts);
  });

  test('ends at once when it is told to', async () => {
    const controller = new AbortController();
    const settings = settingsFrom('pay-button', { operations: 1_000_000 });
    const running = simulate(settings, {
      signal: controller.signal,
      onProgress: () => controller.abort('enough'),
    });
    await expect(running).rejects.toBe('enough');
  });

  test.each(templateNames)('doubles nothing at the committed level, in the template %s', async (name) => {
    const { lanes } = await simulate(settingsFrom(name, { operations: 1_000, level: 'committed' }));
    expect(lanes.without.counts.doubleEffects).toBeGreaterThan(0);
    expect(lanes.with?.counts).toMatchObject({ doubleEffects: 0, lostEffects: 0 });
  });
});
