/** Which numbers of an `IdempotentStream` are refused, because Lambda would refuse them or positions would not hold. */
import { type Duration, Token } from 'aws-cdk-lib';
import { StartingPosition } from 'aws-cdk-lib/aws-lambda';
import { knownSeconds } from './known.ts';
import type { IdempotentStreamProps } from './stream-props.ts';

/** @throws Error for a property that is out of range or contradicts another */
export function checkStream(props: IdempotentStreamProps): void {
  const { source, provisionedPollers, maxRecordAge, maxBatchingWindow } = props;
  const isTopic = 'msk' in source || 'kafka' in source;
  checkWhole('batchSize', props.batchSize, 1, 'dynamodb' in source ? 1_000 : 10_000);
  checkWhole('parallelizationFactor', props.parallelizationFactor, 1, 10);
  checkWhole('retryAttempts', props.retryAttempts, 0, 10_000);
  checkSeconds('maxRecordAge', maxRecordAge, 60, 604_800);
  checkSeconds('maxBatchingWindow', maxBatchingWindow, 0, 300);
  if (isTopic && props.parallelizationFactor !== undefined) {
    throw new Error(
      'parallelizationFactor is set, and Kafka has none: its partitions are handled at once, each in order. Leave it out',
    );
  }
  for (const name of ['retryAttempts', 'maxRecordAge'] as const) {
    if (isTopic && props[name] !== undefined && provisionedPollers === undefined) {
      throw new Error(
        `${name} is set, and Lambda takes it for Kafka in provisioned mode only: add provisionedPollers: {}, or leave ${name} out`,
      );
    }
  }
  if (!isTopic && provisionedPollers !== undefined) {
    throw new Error('provisionedPollers is set, and only Kafka has pollers: leave it out');
  }
  if ('dynamodb' in source && props.startingPosition === StartingPosition.AT_TIMESTAMP) {
    throw new Error(
      'startingPosition is AT_TIMESTAMP, and a table’s stream has no time to begin at: use TRIM_HORIZON or LATEST',
    );
  }
  const { consumer } = props;
  if ('dynamodb' in source && 'table' in consumer && consumer.table.table === source.dynamodb) {
    throw new Error(
      `source.dynamodb is '${source.dynamodb.node.path}', where the consumer keeps its positions: each batch would write to the stream that it came from, without end. Give the consumer another IdempotencyTable`,
    );
  }
}

function checkWhole(name: string, value: number | undefined, from: number, to: number): void {
  if (value === undefined || Token.isUnresolved(value)) return;
  if (Number.isInteger(value) && value >= from && value <= to) return;
  throw new Error(`${name} is ${value}: use ${from} to ${to.toLocaleString('en')}`);
}

function checkSeconds(name: string, value: Duration | undefined, from: number, to: number): void {
  const seconds = value && knownSeconds(value);
  if (seconds === undefined || (seconds >= from && seconds <= to)) return;
  throw new Error(`${name} is ${seconds} s: use ${from} s to ${to.toLocaleString('en')} s`);
}
