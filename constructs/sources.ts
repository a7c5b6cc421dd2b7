/** Which queues and streams hand records to a function, and how long each may deliver a record again. */
import { Stack } from 'aws-cdk-lib';
import { CfnGlobalTable, CfnTable } from 'aws-cdk-lib/aws-dynamodb';
import { CfnStream, CfnStreamConsumer } from 'aws-cdk-lib/aws-kinesis';
import { CfnEventSourceMapping, type Function as LambdaFunction } from 'aws-cdk-lib/aws-lambda';
import { CfnQueue } from 'aws-cdk-lib/aws-sqs';
import type { IConstruct } from 'constructs';
import { addressesOf } from './addresses.ts';
import { knownNumber } from './known.ts';
import { areSame } from './resolved.ts';

/** How long a service may deliver a record again. */
export interface Life {
  readonly seconds: number;
  /** `false` where the template does not say. Then `seconds` is the longest that the service allows. */
  readonly isKnown: boolean;
}

/** A queue or a stream that hands records to a function. */
export interface Source {
  /** `undefined` for one that this app does not create. */
  readonly resource: CfnQueue | CfnTable | CfnGlobalTable | CfnStream | undefined;
  readonly life: Life;
  readonly mapping: CfnEventSourceMapping;
}

/** What has records handed to a function. Complete at synthesis only. */
export function mappingsOf(fn: LambdaFunction): CfnEventSourceMapping[] {
  const addresses = addressesOf(fn);
  return fn.node.root.node
    .findAll()
    .filter((construct) => construct instanceof CfnEventSourceMapping)
    .filter((mapping) => addresses.isAddress(mapping, mapping.functionName));
}

/** All sources of a function in this app. Complete at synthesis only. */
export function sourcesOf(fn: LambdaFunction): Source[] {
  const constructs = fn.node.root.node.findAll();
  return mappingsOf(fn).flatMap((mapping): Source[] => {
    const found = constructs.flatMap((resource) => {
      const source = asSource(resource, constructs);
      return source && areSame(mapping, mapping.eventSourceArn, source.arn) ? [{ ...source, mapping }] : [];
    });
    const elsewhere = found.length === 0 ? lifeElsewhere(mapping) : undefined;
    return elsewhere ? [{ resource: undefined, life: elsewhere, mapping }] : found;
  });
}

/** A resource as a source of records. Where its template says nothing, the service's default counts. */
function asSource(
  resource: IConstruct,
  constructs: readonly IConstruct[],
): (Omit<Source, 'mapping'> & { readonly arn: string }) | undefined {
  if (resource instanceof CfnQueue) {
    return { resource, arn: resource.attrArn, life: lifeOfMessages(resource, constructs) };
  }
  if (resource instanceof CfnTable || resource instanceof CfnGlobalTable) {
    return { resource, arn: resource.attrStreamArn, life: { seconds: daySeconds, isKnown: true } };
  }
  if (resource instanceof CfnStream) return { resource, arn: resource.attrArn, life: lifeInStream(resource) };
  if (resource instanceof CfnStreamConsumer) {
    const stream = constructs
      .filter((construct) => construct instanceof CfnStream)
      .find((candidate) => areSame(resource, candidate.attrArn, resource.streamArn));
    const life = stream ? lifeInStream(stream) : longestInStream;
    return { resource: stream, arn: resource.attrConsumerArn, life };
  }
  return undefined;
}

function lifeInStream(stream: CfnStream): Life {
  const hours = knownNumber(stream, stream.retentionPeriodHours, 24);
  return hours === undefined ? longestInStream : { seconds: hours * 3_600, isKnown: true };
}

/** A message may come from its queue, and once more from the dead-letter queue, when it is redriven. */
function lifeOfMessages(queue: CfnQueue, constructs: readonly IConstruct[]): Life {
  const own = retentionOf(queue);
  if (queue.redrivePolicy === undefined) return own;
  const deadLetterQueue = deadLetterQueueOf(queue, constructs);
  const dead = deadLetterQueue ? retentionOf(deadLetterQueue) : longestInQueue;
  return {
    // A dead letter of a FIFO queue begins a new age. One of a standard queue keeps its age.
    seconds: queue.fifoQueue ? own.seconds + dead.seconds : Math.max(own.seconds, dead.seconds),
    isKnown: own.isKnown && dead.isKnown,
  };
}

/** `undefined` for one that this app does not create. */
export function deadLetterQueueOf(queue: CfnQueue, constructs: readonly IConstruct[]): CfnQueue | undefined {
  const policy: { readonly deadLetterTargetArn?: unknown } | undefined = Stack.of(queue).resolve(
    queue.redrivePolicy,
  );
  return constructs
    .filter((construct) => construct instanceof CfnQueue)
    .find((candidate) => areSame(queue, candidate.attrArn, policy?.deadLetterTargetArn));
}

/** How long a queue keeps a message. */
export function retentionOf(queue: CfnQueue): Life {
  const seconds = knownNumber(queue, queue.messageRetentionPeriod, 4 * daySeconds);
  return seconds === undefined ? longestInQueue : { seconds, isKnown: true };
}

/** Whether a mapping reads a topic of Kafka. */
export const isKafka = (mapping: CfnEventSourceMapping): boolean =>
  mapping.selfManagedEventSource !== undefined || mapping.topics !== undefined;

/** A queue that this app does not create may have a dead-letter queue, and both may keep messages as long as SQS allows. */
function lifeElsewhere(mapping: CfnEventSourceMapping): Life | undefined {
  if (isKafka(mapping)) return usualInTopic;
  const arn: unknown = Stack.of(mapping).resolve(mapping.eventSourceArn);
  if (typeof arn !== 'string' || arn.split(':')[2] !== 'sqs') return undefined;
  const { seconds } = longestInQueue;
  return { seconds: arn.endsWith('.fifo') ? 2 * seconds : seconds, isKnown: false };
}

const daySeconds = 86_400;

/** @see https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SetQueueAttributes.html */
const longestInQueue: Life = { seconds: 14 * daySeconds, isKnown: false };

/** @see https://docs.aws.amazon.com/streams/latest/dev/kinesis-extended-retention.html */
const longestInStream: Life = { seconds: 8_760 * 3_600, isKnown: false };

/** Kafka's own default, `log.retention.hours`. A topic may keep its messages for ever, and no template says how long. */
const usualInTopic: Life = { seconds: 7 * daySeconds, isKnown: false };
