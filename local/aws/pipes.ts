import {
  SendMessageBatchCommand,
  type SendMessageBatchRequestEntry,
  SendMessageCommand,
  type SQSClient,
} from '@aws-sdk/client-sqs';
import type { DynamoDBRecord, DynamoDBStreamEvent } from 'aws-lambda';
import type { FilterPattern } from './event-filter.ts';
import type { Invocation } from './lambda.ts';
import { memberOf } from './member.ts';
import {
  checkStreamEventSource,
  type Discarded,
  type StreamEventSource,
  type StreamEventSourceOptions,
  startStreamEventSource,
} from './stream-event-source.ts';

/** An EventBridge Pipe from a table's stream to a queue, with the names and defaults of Pipes. Begins at `TRIM_HORIZON`. */
export interface PipeDescription {
  /** The name of the table. */
  readonly stream: string;
  /** The name of the queue. */
  readonly queue: string;
  /** The role that reads the stream and sends. @default none: nobody is asked */
  readonly role?: string;
  /** 1 to 10, as many as a queue takes at once. @default 10 */
  readonly batchSize?: number;
  /** @default every record */
  readonly filters?: readonly FilterPattern[];
  /** After that a record goes to the dead-letter queue. @default retries for ever */
  readonly maxRetryAttempts?: number;
  /** @default any age */
  readonly maxRecordAgeSeconds?: number;
  /** Splits a batch that failed in two. @default false */
  readonly bisectOnFailure?: boolean;
  /** The name of a queue for what is given up. @default it is dropped */
  readonly deadLetterQueue?: string;
  /** `<$.path>` to one value of the record, which becomes the body. @default the record as JSON */
  readonly inputTemplate?: string;
  /** A path such as `$.dynamodb.NewImage.groupId.S` stands for the value there; any other text for itself. */
  readonly messageGroupId?: string;
  /** The same. */
  readonly messageDeduplicationId?: string;
}

/** @throws Error with what Pipes would not accept, or what is not known here */
export function checkPipe(name: string, description: PipeDescription): void {
  const { batchSize = 10, inputTemplate, queue, messageGroupId, messageDeduplicationId } = description;
  checkStreamEventSource({ ...description, function: name, batchSize });
  if (batchSize > 10) throw new Error(`Pipe '${name}': batchSize is 1 to 10 for a queue, not ${batchSize}.`);
  if (inputTemplate !== undefined && templatePath(inputTemplate) === undefined) {
    throw new Error(
      `Pipe '${name}': inputTemplate is '${inputTemplate}'; known here is one whole value, like <$.dynamodb.NewImage.body.S>.`,
    );
  }
  if (queue.endsWith('.fifo') && messageGroupId === undefined) {
    throw new Error(`Pipe '${name}': messages for the FIFO queue '${queue}' need a messageGroupId.`);
  }
  for (const text of [messageGroupId, messageDeduplicationId]) {
    if (text === undefined || !text.startsWith('$') || isPath(text)) continue;
    throw new Error(`Pipe '${name}': '${text}' is no path like $.dynamodb.NewImage.groupId.S.`);
  }
}

export interface LocalPipe extends StreamEventSource {
  /** Ends what it does in the middle, and starts it anew behind the last batch that is known to have been sent. */
  crash(): void;
}

export interface PipeOptions extends Pick<StreamEventSourceOptions, 'client' | 'streamArn'> {
  readonly sqs: SQSClient;
  readonly queueUrl: string;
  readonly deadLetterQueueUrl?: string;
  /** Told what went wrong with a batch, each time. */
  readonly onError: (text: string) => void;
}

/**
 * Reads a stream, filters, and sends to a queue, in the order of the stream within a shard: a batch is sent again until it
 * succeeds or is given up.
 *
 * @see https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-pipes-dynamodb.html
 * @see https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-pipes-batching-concurrency.html
 */
export function startPipe(name: string, description: PipeDescription, options: PipeOptions): LocalPipe {
  const { sqs, queueUrl: QueueUrl, deadLetterQueueUrl, client, streamArn, onError } = options;

  async function send({ Records }: DynamoDBStreamEvent, abortSignal: AbortSignal): Promise<Invocation> {
    try {
      const Entries = Records.map((record, index) => ({ Id: `${index}`, ...messageOf(record, description) }));
      const { Failed = [] } = await sqs.send(new SendMessageBatchCommand({ QueueUrl, Entries }), {
        abortSignal,
      });
      if (Failed.length === 0) return { outcome: 'result', payload: 'null' };
      onError(Failed.map(({ Code, Message }) => `${Code}: ${Message}`).join('; '));
      const batchItemFailures = Failed.map(({ Id }) => ({
        itemIdentifier: Records[Number(Id)]?.dynamodb?.SequenceNumber,
      }));
      return { outcome: 'result', payload: JSON.stringify({ batchItemFailures }) };
    } catch (error) {
      const { name: errorType, message: errorMessage } = error as Error;
      if (abortSignal.aborted) return { outcome: 'crash', reason: errorMessage };
      onError(`${errorType}: ${errorMessage}`);
      return { outcome: 'error', errorType, errorMessage };
    }
  }

  async function bury(discarded: Discarded): Promise<void> {
    if (deadLetterQueueUrl === undefined) return;
    const MessageBody = JSON.stringify(deadLetterOf(name, streamArn, discarded));
    await sqs
      .send(new SendMessageCommand({ QueueUrl: deadLetterQueueUrl, MessageBody }))
      .catch((error: Error) => onError(`dead-letter queue: ${error.name}: ${error.message}`));
  }

  const positions = new Map<string, string>();
  const lives: Life[] = [];

  function begin(): void {
    const crash = new AbortController();
    const source = startStreamEventSource(
      {
        batchSize: description.batchSize ?? 10,
        reportBatchItemFailures: true,
        ...(description.filters && { filters: description.filters }),
        ...(description.maxRetryAttempts !== undefined && { maxRetryAttempts: description.maxRetryAttempts }),
        ...(description.maxRecordAgeSeconds !== undefined && {
          maxRecordAgeSeconds: description.maxRecordAgeSeconds,
        }),
        ...(description.bisectOnFailure && { bisectBatchOnFunctionError: true }),
      },
      {
        ...{ name: `pipe ${name}`, client, streamArn, positions, onDiscard: bury },
        invoke: (event) => send(event, crash.signal),
      },
    );
    lives.push({ source, crash });
  }

  let isStopped = false;
  let resolveStopped!: () => void;
  const stopped = new Promise<void>((resolve) => {
    resolveStopped = resolve;
  });
  const current = (): Life => lives.at(-1)!;
  begin();
  return {
    stop() {
      isStopped = true;
      current().source.stop();
      resolveStopped();
    },
    ended: stopped.then(async () => {
      await Promise.all(lives.map(({ source }) => source.ended));
    }),
    async drained() {
      for (let life: Life | undefined; life !== current(); ) {
        life = current();
        try {
          await life.source.drained();
        } catch (error) {
          // What a crash has interrupted is asked again.
          if (life === current()) throw error;
        }
      }
    },
    crash() {
      if (isStopped) return;
      current().source.stop();
      current().crash.abort();
      begin();
    },
  };
}

/** A pipe from its start to its crash. */
interface Life {
  readonly source: StreamEventSource;
  readonly crash: AbortController;
}

function messageOf(
  record: DynamoDBRecord,
  { inputTemplate, messageGroupId, messageDeduplicationId }: PipeDescription,
): Omit<SendMessageBatchRequestEntry, 'Id'> {
  const template = inputTemplate === undefined ? undefined : templatePath(inputTemplate);
  const body = template === undefined ? record : valueAt(record, template);
  return {
    MessageBody: typeof body === 'string' ? body : JSON.stringify(body),
    ...(messageGroupId !== undefined && { MessageGroupId: parameter(record, messageGroupId) }),
    ...(messageDeduplicationId !== undefined && {
      MessageDeduplicationId: parameter(record, messageDeduplicationId),
    }),
  };
}

const isPath = (text: string): boolean => /^\$(?:\.[\w-]+)+$/.test(text);

/** A template that is nothing but one path hands on the value as it is. */
function templatePath(template: string): string | undefined {
  const [, path = ''] = /^<(.+)>$/.exec(template) ?? [];
  return isPath(path) ? path : undefined;
}

function valueAt(record: DynamoDBRecord, path: string): unknown {
  let value: unknown = record;
  for (const name of path.split('.').slice(1)) value = memberOf(value, name);
  if (value === undefined) throw new Error(`There is nothing at ${path} in the record.`);
  return value;
}

function parameter(record: DynamoDBRecord, text: string): string {
  if (!isPath(text)) return text;
  const value = valueAt(record, text);
  if (typeof value === 'string') return value;
  throw new Error(`${text} is ${JSON.stringify(value)}, and no text.`);
}

/** Where in the stream the records are, not what they say. */
const deadLetterOf = (name: string, streamArn: string, { shardId, records, reason }: Discarded): unknown => ({
  context: { partnerResourceArn: name, condition: reason },
  version: '1.0',
  timestamp: new Date().toISOString(),
  DDBStreamBatchInfo: {
    shardId,
    startSequenceNumber: records[0]?.dynamodb?.SequenceNumber,
    endSequenceNumber: records.at(-1)?.dynamodb?.SequenceNumber,
    batchSize: records.length,
    streamArn,
  },
});
