/** The metrics are formulas over counted events: the observer's, CloudWatch's and the dashboard's are the same figures. */
import { App, Stack } from 'aws-cdk-lib';
import { Template } from 'aws-cdk-lib/assertions';
import { describe, expect, test } from 'vitest';
import { IdempotencyDashboard, IdempotencyTable } from '../../constructs/index.ts';
import { emf, type IdempotencyEvent } from '../../lib/index.ts';
import {
  doubledByCommits,
  type SimulationReport,
  type SimulationSettings,
  settingsFrom,
  simulate,
} from '../../lib/simulate/index.ts';

/** Traffic with every kind of event. */
const stormy: Partial<SimulationSettings> = {
  ...{ operations: 1_500, doubleSendRate: 0.2, requestLossRate: 0.05, answerLossRate: 0.2, lateRate: 0.05 },
  ...{ crashBeforeRate: 0.05, crashAfterRate: 0.05, throwRate: 0.05, overrunRate: 0.03 },
  ...{ key: 'order', repeatedOrderRate: 0.2, backoffMs: 4_000, maxAttempts: 6, waitForResultMs: 0 },
};

interface Observed {
  readonly report: SimulationReport;
  readonly events: Readonly<Record<string, number>>;
  /** Sums of CloudWatch's metrics. */
  readonly sums: Readonly<Record<string, number>>;
}

async function observed(): Promise<Observed> {
  const events: Record<string, number> = {};
  const sums: Record<string, number> = {};
  const print = emf({
    write: (line) => {
      const { _aws, ...values } = JSON.parse(line);
      for (const { Name, Unit } of _aws.CloudWatchMetrics[0].Metrics) {
        if (Unit === 'Count') sums[Name] = (sums[Name] ?? 0) + values[Name];
      }
    },
  });
  const observe = (event: IdempotencyEvent) => {
    events[event.type] = (events[event.type] ?? 0) + 1;
    print(event);
  };
  return { report: await simulate(settingsFrom('pay-button', stormy), { observe }), events, sums };
}

/** The formulas of a synthesised dashboard, over the sums of its metrics. */
function dashboardFigures(sums: Readonly<Record<string, number>>, seconds: number): Record<string, number> {
  const stack = new Stack(new App(), 'Stack');
  const table = new IdempotencyTable(stack, 'Table');
  new IdempotencyDashboard(stack, 'Dashboard', { table, namespaces: ['simulation'] });
  const [dashboard] = Object.values(Template.fromStack(stack).findResources('AWS::CloudWatch::Dashboard'));
  const body = dashboard?.Properties.DashboardBody;
  const text =
    typeof body === 'string'
      ? body
      : body['Fn::Join'][1].map((part: unknown) => (typeof part === 'string' ? part : 'x')).join('');
  const figures: Record<string, number> = {};
  for (const { properties } of JSON.parse(text).widgets) {
    const metrics: unknown[][] = properties.metrics ?? [];
    const values: Record<string, number> = {};
    for (const metric of metrics) {
      const options = metric.at(-1) as { id?: string };
      if (metric.length > 2 && options.id) values[options.id] = sums[String(metric[1])] ?? 0;
    }
    for (const [formula] of metrics) {
      const { label, expression } = formula as { label?: string; expression?: string };
      if (label && expression) figures[label] = evaluated(expression, values, seconds);
    }
  }
  return figures;
}

function evaluated(expression: string, values: Readonly<Record<string, number>>, seconds: number): number {
  const code = expression.replace(/PERIOD\(\w+\)/g, String(seconds)).replace(/FILL\((\w+), 0\)/g, '$1');
  const names = Object.keys(values);
  return new Function('IF', ...names, `return ${code}`)(
    (condition: boolean, yes: number, no: number) => (condition ? yes : no),
    ...names.map((name) => values[name]),
  );
}

describe('the metrics of a run', () => {
  test('are those that its observer, CloudWatch and the dashboard count', async () => {
    const { report, events, sums } = await observed();
    const { counts, metrics } = report.lanes.with!;
    for (const type of ['claim', 'takeover', 'replay', 'busy', 'mismatch', 'complete', 'release'] as const) {
      expect(events[type], type).toBeGreaterThan(10);
    }
    const { retrySuccess, ...byType } = counts.observed;
    expect(Object.fromEntries(Object.entries(byType).filter(([, count]) => count > 0))).toEqual(events);
    expect(sums.RetrySuccess).toBe(retrySuccess);
    const figures = dashboardFigures(sums, report.lanes.with!.seconds);
    for (const name of [
      'duplicate_detection_rate',
      'idempotency_key_collision_pct',
      'retry_success_rate',
    ] as const) {
      expect(metrics[name], name).toBeCloseTo(figures[name]!, 10);
    }
    expect(metrics.throughput_rps).toBeCloseTo(figures.throughput_rps!, 10);
  });

  test('have short keys collide as often as the birthday bound says', async () => {
    const [operations, keyBits] = [4_000, 14];
    const { lanes } = await simulate(
      settingsFrom('pay-button', {
        ...{ operations, keyBits, key: 'short', level: 'committed', arrivalsPerSecond: 100 },
        ...{ doubleSendRate: 0, requestLossRate: 0, answerLossRate: 0, lateRate: 0 },
        ...{ crashBeforeRate: 0, crashAfterRate: 0, throwRate: 0, overrunRate: 0 },
      }),
    );
    const { counts, metrics } = lanes.with!;
    const keys = 2 ** keyBits;
    // Of so many keys drawn at random, this many are drawn that were drawn before.
    const expected = operations - keys * (1 - (1 - 1 / keys) ** operations);
    expect(expected).toBeGreaterThan(400);
    expect(Math.abs(counts.refused - expected)).toBeLessThan(4 * Math.sqrt(expected));
    expect(counts.observed.mismatch).toBe(counts.refused);
    expect(metrics.idempotency_key_collision_pct).toBeCloseTo((100 * counts.refused) / operations);
    // Each was refused and not done; nobody was told that it was.
    expect(counts).toMatchObject({ effects: operations - counts.refused, lostEffects: 0, doubleEffects: 0 });
  });

  test('count an effect as lost where a second charge has the key and the payload of the first', async () => {
    const { lanes } = await simulate(
      settingsFrom('pay-button', { ...stormy, operations: 1_000, level: 'committed' }),
    );
    const { lostEffects, refused } = lanes.with!.counts;
    // A fifth of the operations are second charges; half of these have another amount, which the guard refuses.
    expect(lostEffects).toBeGreaterThan(60);
    expect(refused).toBeGreaterThan(60);
  });

  test('have no figure where there is nothing to divide by', async () => {
    const { lanes } = await simulate(settingsFrom('pay-button', { operations: 10, level: 'none' }));
    expect(lanes.with).toBeUndefined();
    expect(lanes.without.metrics).toMatchObject({
      ...{ duplicate_detection_rate: null, idempotency_key_collision_pct: null, retry_success_rate: null },
    });
  });
});

test('an effect that a commit has doubled is told, and one at another level is not', () => {
  const lanes = [{}, { with: { counts: { doubleEffects: 2 } } }, { with: { counts: { doubleEffects: 1 } } }];
  expect(doubledByCommits({ level: 'committed' }, lanes)).toBe(3);
  expect(doubledByCommits({ level: 'guarded' }, lanes)).toBe(0);
});
