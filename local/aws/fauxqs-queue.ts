/** A queue of fauxqs, corrected where a consumer would notice that it is not SQS. */
import { createHash, randomUUID } from 'node:crypto';
import type { BuildAppOptions } from 'fauxqs';
import { byGroup } from './queue-descriptions.ts';

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

export type Stores = NonNullable<BuildAppOptions['stores']>;
type Store = Stores['sqsStore'];
type Queue = ReturnType<Store['createQueue']>;
type Message = Queue['messages'][number];
/** What `SendMessage` and `SendMessageBatch` have in their body. */
export interface SendBody {
  readonly QueueUrl?: string;
  readonly Entries?: SendEntry[];
}

interface SendEntry {
  MessageGroupId?: string;
  MessageDeduplicationId?: string;
  MessageBody?: string;
}

/** fauxqs deduplicates within a queue. Ids that begin with their group make it deduplicate within the group. */
export function scopeDeduplication(body: SendBody, store: Store): void {
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

/** The queue that each dead letter came from. */
const sources = new WeakMap<Message, Queue>();

/** Corrects a queue of fauxqs, and looks into it. */
export function adopt(queue: Queue): LocalQueue {
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
    // With a visibility timeout of 0 the message is visible again at once, and locks no group.
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
    // fauxqs has locked the group for everybody. SQS lets this same receive take more of it.
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
