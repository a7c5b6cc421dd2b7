/** What is wrong or unwise about the event sources of a function that keeps positions. Complete at synthesis only. */
import { Annotations, Stack, Token } from 'aws-cdk-lib';
import type { CfnEventSourceMapping, Function as LambdaFunction } from 'aws-cdk-lib/aws-lambda';
import { CfnQueue } from 'aws-cdk-lib/aws-sqs';
import { knownNumber } from './known.ts';
import { isKafka, mappingsOf, sourcesOf } from './sources.ts';

/** @returns an error for each setting with which records would be lost; what is unwise becomes a warning */
export function checkPositions(fn: LambdaFunction): string[] {
  const queues = sourcesOf(fn).filter(
    ({ resource, mapping }) => resource instanceof CfnQueue || isSqs(mapping),
  );
  const fromQueues = new Set(queues.map(({ mapping }) => mapping));
  return mappingsOf(fn).flatMap((mapping) =>
    fromQueues.has(mapping)
      ? [
          `${nameOf(fn, mapping)} reads a queue, and messages of SQS have no numbers that a position could be: use eachRecord(…) there, in a function without keepsPositions`,
        ]
      : checkMapping(fn, mapping),
  );
}

function checkMapping(fn: LambdaFunction, mapping: CfnEventSourceMapping): string[] {
  const name = nameOf(fn, mapping);
  const isTopic = isKafka(mapping);
  const problems: string[] = [];
  const responses = Stack.of(mapping).resolve(mapping.functionResponseTypes) as readonly string[] | undefined;
  // Kafka is told by an error.
  if (!isTopic && !responses?.includes('ReportBatchItemFailures')) {
    problems.push(
      `${name} has no ReportBatchItemFailures: Lambda would take a batch in which a lane has failed for done, and never send that lane's records again. Set reportBatchItemFailures: true, or use IdempotentStream`,
    );
  }
  if (knownNumber(mapping, mapping.tumblingWindowInSeconds, 0) !== 0) {
    problems.push(
      `${name} has a tumbling window, whose state would miss the records that a position leaves out: leave out tumblingWindow, and keep what is summed up in a table, with commit()`,
    );
  }
  if (!hasDestination(mapping)) {
    problems.push(
      `${name} has no on-failure destination: a record that Lambda gives up is behind the position of its lane, and nobody would know. Set onFailure: new SqsDlq(queue), or use IdempotentStream`,
    );
  }
  // Lambda takes these for a topic only where its pollers are provisioned.
  if (!isTopic || mapping.provisionedPollerConfig !== undefined) adviseRetries(mapping, name);
  return problems;
}

function adviseRetries(mapping: CfnEventSourceMapping, name: string): void {
  const isEndless = (value: unknown) => !Token.isUnresolved(value) && (value === undefined || value === -1);
  if (isEndless(mapping.maximumRetryAttempts) && isEndless(mapping.maximumRecordAgeInSeconds)) {
    Annotations.of(mapping).addWarningV2(
      'idemkit:stream:retries',
      `${name} has neither retryAttempts nor maxRecordAge: a record that always fails holds up all lanes that share its shard or partition, until it expires there. Set retryAttempts: 100 and maxRecordAge: Duration.hours(12), or use IdempotentStream`,
    );
  }
  if (mapping.bisectBatchOnFunctionError === undefined || mapping.bisectBatchOnFunctionError === false) {
    Annotations.of(mapping).addWarningV2(
      'idemkit:stream:bisect',
      `${name} does not split batches: where one record ends the whole invocation, each record of its batch is given up with it. Set bisectBatchOnError: true, which costs nothing, because a position leaves out what is done`,
    );
  }
}

const nameOf = (fn: LambdaFunction, mapping: CfnEventSourceMapping): string =>
  `event source '${mapping.node.path}' of function '${fn.node.path}', which keeps positions,`;

function hasDestination(mapping: CfnEventSourceMapping): boolean {
  const config: { readonly onFailure?: { readonly destination?: unknown } } | undefined = Stack.of(
    mapping,
  ).resolve(mapping.destinationConfig);
  return config?.onFailure?.destination !== undefined;
}

function isSqs(mapping: CfnEventSourceMapping): boolean {
  const arn: unknown = Stack.of(mapping).resolve(mapping.eventSourceArn);
  return typeof arn === 'string' && arn.split(':')[2] === 'sqs';
}
