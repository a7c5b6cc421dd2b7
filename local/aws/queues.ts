import { SQSClient } from '@aws-sdk/client-sqs';
import { accountId, credentials, queueArn, region, topicArn } from './account.ts';
import { adopt, type LocalQueue, type SendBody, type Stores, scopeDeduplication } from './fauxqs-queue.ts';
import {
  attributesOf,
  checkQueue,
  type QueueDescription,
  subscriptionAttributesOf,
  type TopicDescription,
  topicAttributesOf,
} from './queue-descriptions.ts';

export interface LocalQueues {
  /** Straight to it; speaks SQS and SNS. */
  readonly endpoint: string;
  /** Goes straight to the queues. */
  readonly client: SQSClient;
  /** @throws RangeError when there is none of that name */
  queue(name: string): LocalQueue;
  stop(): Promise<void>;
}

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
  for (const [name, description] of Object.entries(queues)) checkQueue(name, description, queues);
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
  const create = async <Name extends keyof Stores>(path: string, name: string): Promise<Stores[Name]> => {
    const module = await import(new URL(path, main).href);
    return new module[name]();
  };
  const [{ buildApp }, sqsStore, snsStore, s3Store] = await Promise.all([
    import('fauxqs'),
    create<'sqsStore'>('sqs/sqsStore.js', 'SqsStore'),
    create<'snsStore'>('sns/snsStore.js', 'SnsStore'),
    create<'s3Store'>('s3/s3Store.js', 'S3Store'),
  ]);
  const stores: Stores = { sqsStore, snsStore, s3Store };
  return { buildApp, stores };
}
