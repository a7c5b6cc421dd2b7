import { join } from 'node:path';
import { Match, Template } from 'aws-cdk-lib/assertions';
import { SnsAction } from 'aws-cdk-lib/aws-cloudwatch-actions';
import { Topic } from 'aws-cdk-lib/aws-sns';
import { describe, expect, it } from 'vitest';
import {
  IdempotencyDashboard,
  type IdempotencyDashboardProps,
  IdempotencyTable,
  IdempotentFunction,
} from '../../constructs/index.ts';
import { emf, type IdempotencyEvent } from '../../lib/index.ts';
import { metric } from '../../lib/record.ts';
import { createStack } from './support.ts';

const entry = join(import.meta.dirname, '../../examples/payments.ts');

type Row = readonly unknown[];

function create(props: Partial<IdempotencyDashboardProps> = {}) {
  const stack = createStack();
  const table = new IdempotencyTable(stack, 'Idempotency', { alarms: false });
  const payments = new IdempotentFunction(stack, 'Payments', { entry, table });
  const functions = [payments];
  const dashboard = new IdempotencyDashboard(stack, 'Guards', { table, functions, ...props });
  return { stack, table, payments, dashboard };
}

/** The rows of all widgets, as CloudWatch reads them. */
function rowsOf({ stack }: ReturnType<typeof create>): Row[] {
  const [found] = Object.values(Template.fromStack(stack).findResources('AWS::CloudWatch::Dashboard'));
  const body = found?.Properties.DashboardBody;
  // References to the table are strings within a string.
  const text: string =
    typeof body === 'string'
      ? body
      : body['Fn::Join'][1].map((part: unknown) => (typeof part === 'string' ? part : 'REF')).join('');
  const { widgets }: { widgets: { properties: { metrics?: Row[] } }[] } = JSON.parse(text);
  return widgets.flatMap(({ properties }) => properties.metrics ?? []);
}

const formulas = (rows: readonly Row[]): Record<string, string> =>
  Object.fromEntries(
    rows
      .map(([first]) => first as { label?: string; expression?: string })
      .flatMap(({ label, expression }) => (expression ? [[label, expression]] : [])),
  );

/** Works a formula of CloudWatch out for one period of 300 s, in which some metrics have a sum and others none. */
function evaluate(expression: string, sums: Readonly<Record<string, number>>): number | undefined {
  const code = expression
    .replace(/FILL\((\w+), 0\)/g, (_, id) => `(sums.${id} ?? 0)`)
    .replace(/PERIOD\(\w+\)/g, '300')
    .replace(/(?<![\w.])(?:claim|takeover|replay|busy|mismatch|succeeded)(?!\w)/g, (id) => `sums.${id}`);
  const value = new Function('sums', 'IF', `return ${code}`)(
    sums,
    (condition: boolean, yes: number, no: number) => (condition ? yes : no),
  );
  return Number.isNaN(value) ? undefined : value;
}

describe('the dashboard', () => {
  const sums = { claim: 60, takeover: 4, replay: 30, busy: 3, mismatch: 3, succeeded: 3 };

  it.each([
    ['duplicate_detection_rate', 33, 0],
    ['idempotency_key_collision_pct', 3, 0],
    ['retry_success_rate', 75, undefined],
    ['throughput_rps', 100 / 300, 0],
  ])('computes %s, even where nothing happened', (name, value, whenIdle) => {
    const expression = formulas(rowsOf(create()))[name] ?? '';
    expect(evaluate(expression, sums)).toBeCloseTo(value);
    expect(evaluate(expression, {})).toBe(whenIdle);
  });

  it('shows conflicts, takeovers, overtaken and unrecorded attempts, fences and gaps, and both latencies', () => {
    const rows = rowsOf(create());
    const shown = rows.flatMap(([namespace, name, , dimension, options]) =>
      namespace === 'idemkit' && (options as { visible?: boolean }).visible !== false
        ? [`${name} ${dimension} ${(options as { stat: string }).stat}`]
        : [],
    );
    for (const row of [
      'Busy Test/Payments Sum',
      'Takeover Test/Payments Sum',
      'Overtaken Test/Payments Sum',
      'Unrecorded Test/Payments Sum',
      'Fenced Test/Payments Sum',
      'Gap Test/Payments Sum',
      'ClaimLatency Test/Payments p50',
      'ClaimLatency Test/Payments p99',
      'SettleLatency Test/Payments p50',
      'SettleLatency Test/Payments p99',
    ]) {
      expect(shown).toContain(row);
    }
  });

  it('estimates the cost of a month from what the table consumed', () => {
    const expression = formulas(rowsOf(create({ pricePerMillionWrites: 1, pricePerMillionReads: 0.5 })))
      .cost_usd_per_month?.replace(/writes(?=,)/g, 'w')
      .replace(/reads(?=,)/g, 'r');
    // 300 write units and 600 read units in five minutes.
    expect(evaluate(expression ?? '', { w: 300, r: 600 } as never)).toBeCloseTo(600 * 0.000001 * 8640);
  });

  it('reads only metrics that emf writes', () => {
    const written = new Set<string>();
    const observe = emf({
      write: (line) => {
        const { CloudWatchMetrics } = JSON.parse(line)._aws;
        for (const { Namespace, Dimensions, Metrics } of CloudWatchMetrics) {
          for (const { Name } of Metrics) written.add(`${Namespace} ${Name} ${Dimensions}`);
        }
      },
    });
    for (const type of Object.keys(metric.count)) {
      const event = { type, namespace: 'x', atMs: 0, operation: 'o', attempt: 2, durationMs: 1 };
      observe(event as unknown as IdempotencyEvent);
    }
    const read = rowsOf(create()).flatMap(([namespace, name, dimension]) =>
      namespace === 'idemkit' ? [`${namespace} ${name} ${dimension}`] : [],
    );
    expect(read.length).toBeGreaterThan(10);
    expect(read.filter((one) => !written.has(one))).toEqual([]);
  });

  it('keeps several namespaces apart', () => {
    const rows = rowsOf(create({ namespaces: ['orders', 'orders'] }));
    expect(Object.keys(formulas(rows)).filter((label) => label.startsWith('throughput_rps'))).toEqual([
      'throughput_rps (Test/Payments)',
      'throughput_rps (orders)',
    ]);
    // One id with two meanings would be refused by CloudWatch.
    const meanings = new Map<string, Set<string>>();
    for (const row of rows) {
      const options = row.at(-1) as { id?: string };
      if (row.length < 4 || options.id === undefined) continue;
      meanings.set(options.id, (meanings.get(options.id) ?? new Set()).add(JSON.stringify(row.slice(0, 4))));
    }
    expect([...meanings.values()].filter(({ size }) => size > 1)).toEqual([]);
  });

  it('fails where there is nothing to show', () => {
    expect(() => create({ functions: [] })).toThrow(/functions and namespaces are empty/);
  });
});

describe('the alarms of the dashboard', () => {
  it('watch in each namespace what should not happen', () => {
    const { stack } = create();
    const template = Template.fromStack(stack);
    for (const MetricName of ['Unrecorded', 'Overtaken']) {
      template.hasResourceProperties('AWS::CloudWatch::Alarm', {
        Namespace: 'idemkit',
        MetricName,
        Dimensions: [{ Name: 'namespace', Value: 'Test/Payments' }],
        Threshold: 1,
        ComparisonOperator: 'GreaterThanOrEqualToThreshold',
        TreatMissingData: 'notBreaching',
      });
    }
    template.hasResourceProperties('AWS::CloudWatch::Alarm', {
      Metrics: Match.arrayWith([
        Match.objectLike({ Label: 'idempotency_key_collision_pct', ReturnData: true }),
      ]),
      Threshold: 5,
      EvaluationPeriods: 3,
    });
  });

  it('notify the given topics, or are switched off', () => {
    const stack = createStack();
    const table = new IdempotencyTable(stack, 'Idempotency', { alarms: false });
    const topic = new Topic(stack, 'Topic');
    new IdempotencyDashboard(stack, 'Guards', {
      table,
      namespaces: ['orders'],
      alarmActions: [new SnsAction(topic)],
    });
    const alarms = Object.values(Template.fromStack(stack).findResources('AWS::CloudWatch::Alarm'));
    expect(alarms.map(({ Properties }) => Properties.AlarmActions)).toEqual(
      Array(3).fill([stack.resolve(topic.topicArn)]),
    );
    Template.fromStack(create({ alarms: false }).stack).resourceCountIs('AWS::CloudWatch::Alarm', 0);
  });
});
