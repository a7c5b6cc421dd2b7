/** Queues and topics as they are described, checked, and as attributes of SQS and SNS. */
import { queueArn } from './account.ts';

/** Units and meanings are those of the queue attributes of SQS. A FIFO queue's name ends with `.fifo`. */
export interface QueueDescription {
  /** @default whether the name ends with `.fifo` */
  readonly fifo?: boolean;
  /** FIFO only. @default false */
  readonly contentBasedDeduplication?: boolean;
  /** FIFO only: deduplicates within a message group, not within the queue. @default false */
  readonly highThroughput?: boolean;
  /** @default 30 */
  readonly visibilityTimeoutSeconds?: number;
  /** May be shorter than AWS allows (60). @default 345_600, four days */
  readonly retentionSeconds?: number;
  /** The name of the queue that gets what was received `maxReceiveCount` times and is received again. */
  readonly deadLetterQueue?: string;
  /** Goes with `deadLetterQueue`. */
  readonly maxReceiveCount?: number;
}

export interface TopicDescription {
  /** FIFO only. @default false */
  readonly contentBasedDeduplication?: boolean;
  readonly subscriptions?: readonly SubscriptionDescription[];
}

export interface SubscriptionDescription {
  readonly queue: string;
  /** @default false: the message arrives inside SNS's envelope */
  readonly rawMessageDelivery?: boolean;
  /** A filter policy of SNS, on message attributes. */
  readonly filterPolicy?: Readonly<Record<string, unknown>>;
}

/** Of a FIFO queue that deduplicates by group, and no other. */
export const byGroup = 'messageGroup';

const isFifoName = (name: string): boolean => name.endsWith('.fifo');

/**
 * Checks a queue before anything is started.
 *
 * @throws Error with what is wrong with its description
 */
export function checkQueue(
  name: string,
  description: QueueDescription,
  queues: Readonly<Record<string, QueueDescription>>,
): void {
  const { fifo = isFifoName(name), contentBasedDeduplication, highThroughput } = description;
  const { deadLetterQueue, maxReceiveCount } = description;
  if (fifo !== isFifoName(name)) {
    throw new Error(`Queue '${name}': the name of a FIFO queue, and of no other, ends with '.fifo'.`);
  }
  if (!fifo && (contentBasedDeduplication || highThroughput)) {
    throw new Error(
      `Queue '${name}' is no FIFO queue: it has no contentBasedDeduplication and no highThroughput.`,
    );
  }
  if ((deadLetterQueue === undefined) !== (maxReceiveCount === undefined)) {
    throw new Error(`Queue '${name}': deadLetterQueue and maxReceiveCount go together.`);
  }
  if (deadLetterQueue === undefined) return;
  if (!(deadLetterQueue in queues)) {
    throw new Error(
      `Queue '${name}' has the dead-letter queue '${deadLetterQueue}', which is none of the queues.`,
    );
  }
  if (isFifoName(deadLetterQueue) !== fifo) {
    throw new Error(
      `Queue '${name}': the dead-letter queue of a FIFO queue, and of no other, is a FIFO queue.`,
    );
  }
}

export const attributesOf = (name: string, description: QueueDescription): Record<string, string> => ({
  VisibilityTimeout: String(description.visibilityTimeoutSeconds ?? 30),
  MessageRetentionPeriod: String(description.retentionSeconds ?? 345_600),
  ...(isFifoName(name) && {
    FifoQueue: 'true',
    ContentBasedDeduplication: String(description.contentBasedDeduplication ?? false),
    DeduplicationScope: description.highThroughput ? byGroup : 'queue',
    FifoThroughputLimit: description.highThroughput ? 'perMessageGroupId' : 'perQueue',
  }),
  ...(description.deadLetterQueue !== undefined && {
    RedrivePolicy: JSON.stringify({
      deadLetterTargetArn: queueArn(description.deadLetterQueue),
      maxReceiveCount: description.maxReceiveCount,
    }),
  }),
});

export const topicAttributesOf = (name: string, description: TopicDescription): Record<string, string> =>
  isFifoName(name)
    ? {
        FifoTopic: 'true',
        ContentBasedDeduplication: String(description.contentBasedDeduplication ?? false),
      }
    : {};

export const subscriptionAttributesOf = (description: SubscriptionDescription): Record<string, string> => ({
  ...(description.rawMessageDelivery && { RawMessageDelivery: 'true' }),
  ...(description.filterPolicy && { FilterPolicy: JSON.stringify(description.filterPolicy) }),
});
