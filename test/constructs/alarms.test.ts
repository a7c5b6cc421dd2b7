import { Template } from 'aws-cdk-lib/assertions';
import { describe, expect, it } from 'vitest';
import { IdempotencyTable, IdempotentQueue, OutboxPipe } from '../../constructs/index.ts';
import { dynamoStore } from '../../lib/index.ts';
import { storeContract } from '../../lib/store.ts';
import { countRequests, createTable } from '../support/dynamodb.ts';
import { wholeStore } from '../support/whole-store.ts';
import { createStack } from './support.ts';

function synthesize() {
  const stack = createStack();
  const table = new IdempotencyTable(stack, 'Idempotency');
  const queue = new IdempotentQueue(stack, 'Ledger', { alarms: false });
  const pipe = new OutboxPipe(stack, 'Outbox', { table, queue, destination: 'ledger' });
  return { stack, table, pipe, template: Template.fromStack(stack) };
}

interface AlarmProperties {
  readonly [property: string]: unknown;
  readonly expression: string | undefined;
  readonly metrics: Readonly<Record<string, MetricStat>>;
}

interface MetricStat {
  readonly Metric: { readonly MetricName: string; readonly Dimensions: unknown };
  readonly Period: number;
  readonly Stat: string;
}

/** The alarm's properties, and of a formula also its metrics, by their ids in it. */
function alarmOf(template: Template, id: string): AlarmProperties {
  const found = Object.entries(template.findResources('AWS::CloudWatch::Alarm')).filter(([name]) =>
    name.startsWith(id),
  );
  expect(found).toHaveLength(1);
  const alarm = found[0]?.[1].Properties;
  const formula: { Id: string; Expression?: string; MetricStat?: MetricStat }[] = alarm.Metrics ?? [];
  return {
    ...alarm,
    expression: formula.find(({ Expression }) => Expression !== undefined)?.Expression,
    metrics: Object.fromEntries(
      formula.flatMap(({ Id, MetricStat }) => (MetricStat ? [[Id, MetricStat]] : [])),
    ) as Record<string, MetricStat>,
  };
}

describe('the alarms of a table', () => {
  it('see throttle events of any operation, in reads or in writes alone', () => {
    const { stack, table, template } = synthesize();
    const alarm = alarmOf(template, 'IdempotencyThrottleEvents');
    expect(alarm.expression).toBe('FILL(reads, 0) + FILL(writes, 0)');
    expect(Object.entries(alarm.metrics).map(([id, { Metric }]) => [id, Metric])).toEqual(
      Object.entries({ reads: 'ReadThrottleEvents', writes: 'WriteThrottleEvents' }).map(
        ([id, MetricName]) => [
          id,
          {
            Namespace: 'AWS/DynamoDB',
            MetricName,
            Dimensions: [{ Name: 'TableName', Value: stack.resolve(table.tableName) }],
          },
        ],
      ),
    );
  });

  it('see an error of one operation while the others have no data', () => {
    const { stack, table, template } = synthesize();
    const alarm = alarmOf(template, 'IdempotencySystemErrors');
    const operations = ['PutItem', 'UpdateItem', 'GetItem', 'Query', 'TransactWriteItems'];
    expect(alarm.expression).toBe(operations.map((name) => `FILL(${name.toLowerCase()}, 0)`).join(' + '));
    expect(Object.values(alarm.metrics).map(({ Metric }) => Metric.Dimensions)).toEqual(
      operations.map((Value) => [
        { Name: 'Operation', Value },
        { Name: 'TableName', Value: stack.resolve(table.tableName) },
      ]),
    );
  });

  it('watch the operations that the store sends, and no others', async () => {
    const { tableName, client } = await createTable();
    const sent = countRequests(client);
    const contract = storeContract(() => wholeStore(dynamoStore({ tableName, client })));
    for (const { run } of contract) await run();
    const { metrics } = alarmOf(synthesize().template, 'IdempotencySystemErrors');
    expect(Object.keys(metrics).sort()).toEqual([...new Set(sent)].map((name) => name.toLowerCase()).sort());
  });

  it("count missing data as zero in a caller's own metrics", () => {
    const { stack, table } = synthesize();
    const metric = table.metricThrottledRequests({ label: 'Throttled' });
    expect(metric).toMatchObject({
      expression: expect.stringMatching(/^FILL\(putitem, 0\) \+ /),
      label: 'Throttled',
    });
    expect(stack.resolve(table.metricThrottleEvents())).toMatchObject({ period: expect.anything() });
  });
});

describe('the alarms of a pipe', () => {
  it('see executions that fail, in part, in whole or by time', () => {
    const { stack, pipe, template } = synthesize();
    const alarm = alarmOf(template, 'OutboxFailedExecutions');
    expect(alarm.expression).toBe('FILL(failed, 0) + FILL(partial, 0) + FILL(late, 0)');
    expect(alarm.metrics.failed?.Metric).toEqual({
      Namespace: 'AWS/EventBridge/Pipes',
      MetricName: 'ExecutionFailed',
      Dimensions: [{ Name: 'PipeName', Value: stack.resolve(pipe.pipe.ref) }],
    });
    expect(alarm.metrics.partial?.Metric.MetricName).toBe('ExecutionPartiallyFailed');
    expect(alarm.metrics.late?.Metric.MetricName).toBe('ExecutionTimeout');
  });

  it('see a queue that takes no messages, or not all of a batch', () => {
    const { stack, pipe, template } = synthesize();
    const alarm = alarmOf(template, 'OutboxFailedDeliveries');
    expect(alarm.expression).toBe('FILL(failed, 0) + FILL(partial, 0)');
    expect(alarm.metrics.failed?.Metric).toMatchObject({
      MetricName: 'TargetStageFailed',
      Dimensions: [{ Name: 'PipeName', Value: stack.resolve(pipe.pipe.ref) }],
    });
    expect(alarm.metrics.partial?.Metric.MetricName).toBe('TargetStagePartiallyFailed');
  });

  it('see a message that it could not publish', () => {
    const { stack, pipe, template } = synthesize();
    expect(alarmOf(template, 'OutboxDeadLetters')).toMatchObject({
      Dimensions: [{ Name: 'QueueName', Value: stack.resolve(pipe.deadLetterQueue.queueName) }],
      MetricName: 'ApproximateNumberOfMessagesVisible',
    });
  });
});

describe('an alarm of a table or a pipe', () => {
  it.each([
    'IdempotencyThrottleEvents',
    'IdempotencySystemErrors',
    'OutboxFailedExecutions',
    'OutboxFailedDeliveries',
    'OutboxDeadLetters',
  ])('%s is raised by a single minute in which anything happened, and by no missing data', (id) => {
    const alarm = alarmOf(synthesize().template, id);
    expect(alarm).toMatchObject({
      Threshold: 1,
      ComparisonOperator: 'GreaterThanOrEqualToThreshold',
      EvaluationPeriods: 1,
      TreatMissingData: 'notBreaching',
    });
    expect(alarm.DatapointsToAlarm ?? 1).toBe(1);
    const periods = [alarm, ...Object.values(alarm.metrics)].flatMap(({ Period }) => Period ?? []);
    expect(new Set(periods)).toEqual(new Set([60]));
    for (const { Stat } of Object.values(alarm.metrics)) expect(Stat).toBe('Sum');
  });
});
