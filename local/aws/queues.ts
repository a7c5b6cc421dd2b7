import { createHash, randomUUID } from 'node:crypto';
import { SQSClient } from '@aws-sdk/client-sqs';
import type { BuildAppOptions } from 'fauxqs';
import { accountId, credentials, queueArn, region, topicArn } from './account.ts';

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

export interface QueuedMessage {
  readonly state: 'visible' | 'in-flight' | 'delayed';
  readonly messageId: string;
  readonly body: string;
  readonly receiveCount: number;
  readonly sentAtMs: number;
  readonly groupId?: string;
  readonly deduplicationId?: string;
}

export interface LocalQueue {
  /** For a client that goes straight to the queue. */
  readonly url: string;
  readonly arn: string;
  /** What is in the queue now. Looking is not receiving. */
  readonly messages: readonly QueuedMessage[];
  /** Resolves once there is no message in it, visible or not. */
  drained(): Promise<void>;
  /**
   * Moves what is visible in a dead-letter queue back to the queues that it came from, as `StartMessageMoveTask` does:
   * in order, as new messages with a new message id, time and receive count. What has been sent to this queue directly
   * stays. Returns how many.
   *
   * In FIFO queues a message keeps its group, but not the deduplication id that its producer gave it: that was replaced
   * with the message id when it became a dead letter.
   *
   * @see https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-configure-dead-letter-queue-redrive.html
   */
  redrive(): number;
  /** As if five minutes had passed: a deduplication id that was used is accepted again. */
  forgetDeduplicationIds(): void;
}

export interface LocalQueues {
  /** Straight to it; speaks SQS and SNS. */
  readonly endpoint: string;
  /** Goes straight to the queues. */
  readonly client: SQSClient;
  /** @throws RangeError when there is none of that name */
  queue(name: string): LocalQueue;
  stop(): Promise<void>;
}

type Stores = NonNullable<BuildAppOptions['stores']>;
type Store = Stores['sqsStore'];
type Queue = ReturnType<Store['createQueue']>;
type Message = Queue['messages'][number];
/** Of a FIFO queue that deduplicates by group, and no other. */
const byGroup = 'messageGroup';

/**
 * Starts fauxqs in this process. What of it differs from SQS in ways that a consumer notices is corrected here:
 *
 * - a receive takes as many messages of a group as there is room for, not one;
 * - messages of a group come back in their order after a failure;
 * - a receipt handle of a FIFO queue is worth nothing after the visibility timeout;
 * - a dead letter of a FIFO queue has its message id as its deduplication id;
 * - `highThroughput` deduplicates by group; messages end with the retention period.
 *
 * What differs still: a FIFO topic deduplicates at its queues and not by itself; `StartMessageMoveTask` is not
 * known (`redrive()` is here for it), nor are `ReceiveRequestAttemptId`, message timers, `DeadLetterQueueSourceArn`,
 * access policies and encryption; a FIFO queue has no limit of 20 000 messages in flight and no throttling.
 *
 * @throws Error with what is wrong with a description
 */
export async function startQueues(
  queues: Readonly<Record<string, QueueDescription>>,
  topics: Readonly<Record<string, TopicDescription>> = {},
): Promise<LocalQueues> {
  for (const [name, description] of Object.entries(queues)) check(name, description, queues);
  for (const [name, { subscriptions = [] }] of Object.entries(topics)) {
    for (const { queue } of subscriptions) {
      if (queue in queues) continue;
      throw new Error(`Topic '${name}' is subscribed to by '${queue}', which is none of the queues.`);
    }
  }

  const { buildApp, stores } = await importFauxqs();
  const { sqsStore, snsStore } = stores;
  const app = buildApp({ logger: false, defaultRegion: region, stores });
  app.addHook('preHandler', async ({ headers, body }) => {
    if (headers['x-amz-target']?.toString().startsWith('AmazonSQS.SendMessage')) {
      scopeDeduplication(body as SendBody, sqsStore);
    }
  });
  // A queue's URL has the address that it was asked for through: the SDK sends to it.
  app.addHook('onSend', async ({ headers }, _, payload) =>
    /\.(?:GetQueueUrl|ListQueues|CreateQueue)$/.test(headers['x-amz-target']?.toString() ?? '')
      ? String(payload).replaceAll(endpoint, `http://${headers.host}`)
      : payload,
  );
  const endpoint = await app.listen({ port: 0, host: '127.0.0.1' });

  const created = new Map<string, LocalQueue>();
  for (const [name, description] of Object.entries(queues)) {
    const url = `${endpoint}/${accountId}/${name}`;
    created.set(
      name,
      adopt(sqsStore.createQueue(name, url, queueArn(name), attributesOf(name, description))),
    );
  }
  for (const [name, description] of Object.entries(topics)) {
    snsStore.createTopic(name, topicAttributesOf(name, description), undefined, region);
    for (const subscription of description.subscriptions ?? []) {
      snsStore.subscribe(
        topicArn(name),
        'sqs',
        queueArn(subscription.queue),
        subscriptionAttributesOf(subscription),
      );
    }
  }
  const client = new SQSClient({ endpoint, region, credentials });

  return {
    endpoint,
    client,
    queue(name) {
      const found = created.get(name);
      if (found === undefined) throw new RangeError(`There is no queue '${name}' in this stack.`);
      return found;
    },
    async stop() {
      client.destroy();
      await app.close();
    },
  };
}

/** Its stores are not among its exports; without them no queue can be corrected, nor looked into. */
async function importFauxqs() {
  const main = import.meta.resolve('fauxqs');
  const part = async (path: string): Promise<any> => import(new URL(path, main).href);
  const [{ buildApp }, { SqsStore }, { SnsStore }, { S3Store }] = await Promise.all([
    import('fauxqs'),
    part('sqs/sqsStore.js'),
    part('sns/snsStore.js'),
    part('s3/s3Store.js'),
  ]);
  const stores: Stores = { sqsStore: new SqsStore(), snsStore: new SnsStore(), s3Store: new S3Store() };
  return { buildApp, stores };
}

const isFifoName = (name: string): boolean => name.endsWith('.fifo');

function check(
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

const attributesOf = (name: string, description: QueueDescription): Record<string, string> => ({
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

const topicAttributesOf = (name: string, description: TopicDescription): Record<string, string> =>
  isFifoName(name)
    ? {
        FifoTopic: 'true',
        ContentBasedDeduplication: String(description.contentBasedDeduplication ?? false),
      }
    : {};

const subscriptionAttributesOf = (description: SubscriptionDescription): Record<string, string> => ({
  ...(description.rawMessageDelivery && { RawMessageDelivery: 'true' }),
  ...(description.filterPolicy && { FilterPolicy: JSON.stringify(description.filterPolicy) }),
});

interface SendBody {
  readonly QueueUrl?: string;
  readonly Entries?: SendEntry[];
}

interface SendEntry {
  MessageGroupId?: string;
  MessageDeduplicationId?: string;
  MessageBody?: string;
}

/** fauxqs compares ids within a queue. With the group in front of them it compares them within a group. */
function scopeDeduplication(body: SendBody, store: Store): void {
  const queue = store.getQueue(body.QueueUrl ?? '');
  if (queue?.attributes.DeduplicationScope !== byGroup) return;
  for (const entry of body.Entries ?? [body as SendEntry]) {
    const id =
      entry.MessageDeduplicationId ??
      (queue.attributes.ContentBasedDeduplication === 'true'
        ? createHash('sha256')
            .update(entry.MessageBody ?? '')
            .digest('hex')
        : undefined);
    if (id !== undefined) entry.MessageDeduplicationId = `${entry.MessageGroupId}/${id}`;
  }
}

/** Where a dead letter came from. */
const sources = new WeakMap<Message, Queue>();

function adopt(queue: Queue): LocalQueue {
  const waiting: (() => void)[] = [];
  const original = {
    enqueue: queue.enqueue.bind(queue),
    dequeue: queue.dequeue.bind(queue),
    deleteMessage: queue.deleteMessage.bind(queue),
    changeVisibility: queue.changeVisibility.bind(queue),
    processTimers: queue.processTimers.bind(queue),
  };
  let arrivals = 0;
  const arrival = new WeakMap<Message, number>();

  queue.enqueue = (message) => {
    arrival.set(message, ++arrivals);
    const scope = `${message.messageGroupId}/`;
    if (
      queue.attributes.DeduplicationScope === byGroup &&
      message.messageDeduplicationId?.startsWith(scope)
    ) {
      message.messageDeduplicationId = message.messageDeduplicationId.slice(scope.length);
    }
    original.enqueue(message);
  };

  queue.dequeue = (maxCount, visibilityTimeout, findQueue) => {
    const findDeadLetterQueue: typeof findQueue = (arn) => {
      const target = findQueue?.(arn);
      return target && ({ enqueue: (message: Message) => bury(message, queue, target) } as Queue);
    };
    const seconds = visibilityTimeout ?? Number(queue.attributes.VisibilityTimeout);
    // What is visible again at once locks no group.
    const received =
      queue.isFifo() && seconds > 0
        ? receiveGroups(queue, maxCount, () => original.dequeue(1, visibilityTimeout, findDeadLetterQueue)[0])
        : original.dequeue(maxCount, visibilityTimeout, findDeadLetterQueue);
    announce();
    return received;
  };

  queue.deleteMessage = (receiptHandle) => {
    // A FIFO queue takes a receipt handle only until the visibility timeout; a standard queue longer.
    if (queue.isFifo()) queue.processTimers();
    const wasThere = original.deleteMessage(receiptHandle);
    announce();
    return wasThere;
  };

  queue.changeVisibility = (receiptHandle, timeoutSeconds) => {
    original.changeVisibility(receiptHandle, timeoutSeconds);
    inOrderOfArrival();
  };

  queue.processTimers = () => {
    original.processTimers();
    inOrderOfArrival();
    forgetOld();
  };

  /** fauxqs puts what has become visible again in front of its group, the earliest first. */
  function inOrderOfArrival(): void {
    for (const messages of queue.fifoMessages.values()) {
      messages.sort((one, other) => (arrival.get(one) ?? 0) - (arrival.get(other) ?? 0));
    }
  }

  function forgetOld(): void {
    const oldestMs = Date.now() - Number(queue.attributes.MessageRetentionPeriod) * 1000;
    const isKept = ({ sentTimestamp }: Message): boolean => sentTimestamp > oldestMs;
    if (visible().every(isKept)) return;
    queue.messages = queue.messages.filter(isKept);
    for (const [groupId, messages] of queue.fifoMessages) {
      queue.fifoMessages.set(groupId, messages.filter(isKept));
    }
    announce();
  }

  const visible = (): Message[] => queue.inspectMessages().ready;

  function isEmpty(): boolean {
    const { ready, delayed, inflight } = queue.inspectMessages();
    return ready.length + delayed.length + inflight.length === 0;
  }

  function announce(): void {
    if (waiting.length === 0 || !isEmpty()) return;
    for (const resolve of waiting.splice(0)) resolve();
  }

  return {
    url: queue.url,
    arn: queue.arn,
    get messages() {
      queue.processTimers();
      const { ready, delayed, inflight } = queue.inspectMessages();
      return [
        ...ready.map((message) => describe(message, 'visible')),
        ...inflight.map(({ message }) => describe(message, 'in-flight')),
        ...delayed.map((message) => describe(message, 'delayed')),
      ];
    },
    drained() {
      if (isEmpty()) return Promise.resolve();
      return new Promise((resolve) => {
        waiting.push(resolve);
      });
    },
    redrive() {
      queue.processTimers();
      const moving = visible().filter((message) => sources.has(message));
      const isStaying = (message: Message): boolean => !moving.includes(message);
      queue.messages = queue.messages.filter(isStaying);
      for (const [groupId, messages] of queue.fifoMessages) {
        queue.fifoMessages.set(groupId, messages.filter(isStaying));
      }
      for (const message of moving) resend(message, sources.get(message)!);
      announce();
      return moving.length;
    },
    forgetDeduplicationIds() {
      queue.deduplicationCache.clear();
    },
  };
}

/** A receive takes what it can of one group, then of the next. */
function receiveGroups(
  queue: Queue,
  maxCount: number,
  receiveOne: () => ReturnType<Queue['dequeue']>[number] | undefined,
): ReturnType<Queue['dequeue']> {
  const received: ReturnType<Queue['dequeue']> = [];
  while (received.length < maxCount) {
    const message = receiveOne();
    if (message === undefined) break;
    received.push(message);
    // Its group is locked now, for others: this receive takes what follows.
    const groupId = queue.inflightMessages.get(message.ReceiptHandle)?.message.messageGroupId;
    if (groupId !== undefined) queue.fifoLockedGroups.delete(groupId);
  }
  for (const { message } of queue.inflightMessages.values()) {
    queue.fifoLockedGroups.delete(message.messageGroupId ?? '');
  }
  for (const { message } of queue.inflightMessages.values()) {
    const groupId = message.messageGroupId ?? '';
    queue.fifoLockedGroups.set(groupId, (queue.fifoLockedGroups.get(groupId) ?? 0) + 1);
  }
  return received;
}

function bury(message: Message, from: Queue, to: Queue): void {
  sources.set(message, from);
  if (to.isFifo()) message.messageDeduplicationId = message.messageId;
  to.enqueue(message);
}

function resend(message: Message, to: Queue): void {
  const { approximateFirstReceiveTimestamp, delayUntil, sequenceNumber, ...kept } = message;
  to.enqueue({
    ...kept,
    messageId: randomUUID(),
    sentTimestamp: Date.now(),
    approximateReceiveCount: 0,
    ...(to.isFifo() && { sequenceNumber: to.nextSequenceNumber() }),
  });
}

const describe = (message: Message, state: QueuedMessage['state']): QueuedMessage => ({
  state,
  messageId: message.messageId,
  body: message.body,
  receiveCount: message.approximateReceiveCount,
  sentAtMs: message.sentTimestamp,
  ...(message.messageGroupId !== undefined && { groupId: message.messageGroupId }),
  ...(message.messageDeduplicationId !== undefined && { deduplicationId: message.messageDeduplicationId }),
});
