/**
 * The sending side of FIFO. A queue or topic drops a message whose deduplication id it has seen within five minutes, so a
 * repeated send must carry the id of the first.
 */

import { IdempotencyError } from '../errors.ts';
import { hexSha256 } from '../hash.ts';
import { keyAttribute, maxMessageAttributes } from '../message-key.ts';
import type { GuardedOperation, Operation } from '../operation/index.ts';
import { loadSns, loadSqs } from '../peers.ts';
import { checkKnown, isFunction, isRecord, kindOf } from '../validate.ts';

/** Identifies a message: by its operation and its name in it, or by a list of your own. */
export type MessageIdentity =
  | readonly [operation: Operation, name: string]
  | readonly [parts: readonly (string | number)[]];

/**
 * A `MessageDeduplicationId` for a FIFO queue or topic: 64 characters of `0` to `9` and `a` to `f`.
 *
 * Of an operation and a name, the id is the same in every attempt, and another one for each name, key, tenant and namespace.
 * The call counts as work: when the handler fails after it, the key stays with this payload.
 * Unguarded, the id is the same within one call only.
 *
 * Of a list of strings and numbers, the id is the same for the same list. `['a', 'bc']` is not `['ab', 'c']`; `1` is `'1'`.
 *
 * @throws `BAD_KEY` for a part or a name that is missing or blank: different messages would share one id, and the queue would
 * drop all but the first. Like `token`, `OVERTAKEN` once the lease is over, `NOT_GUARDED` once the operation has been settled.
 * @see https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/using-messagededuplicationid-property.html
 */
export function deduplicationId(operation: Operation, name: string): string;
export function deduplicationId(parts: readonly (string | number)[]): string;
export function deduplicationId(...[of, name]: [of: unknown, name?: unknown]): string {
  if (isRecord(of) && isFunction(of.token)) {
    const operation = of as unknown as Operation & Partial<GuardedOperation>;
    const called = checkPart(name, 'The name of the message');
    // An unguarded call has no key. Its token differs from that of every other call.
    return idOf('operation', operation.queueIdentity?.(called) ?? [operation.token(called)]);
  }
  if (!Array.isArray(of) || of.length === 0) {
    throw new IdempotencyError(
      'BAD_KEY',
      `A deduplication id is made of an operation and a name, or of a list of strings and numbers; got ${Array.isArray(of) ? 'an empty array' : kindOf(of)}. Write deduplicationId(operation(context), 'receipt'), or deduplicationId(['receipt', order.id]).`,
    );
  }
  return idOf(
    'parts',
    Array.from(of as unknown[], (part, index) => checkPart(part, `Part ${index} of the deduplication id`)),
  );
}

/** The kind keeps a list from getting the id of an operation's message. */
const idOf = (kind: 'operation' | 'parts', parts: readonly string[]): string =>
  hexSha256(`${kind}:${JSON.stringify(parts)}`);

/** The message shows no value, because it may be personal data. */
function checkPart(part: unknown, which: string): string {
  const isText = typeof part === 'string' && part.trim() !== '';
  if (isText || (typeof part === 'number' && Number.isFinite(part))) return String(part);
  throw new IdempotencyError(
    'BAD_KEY',
    `${which} is ${kindOf(part)}. It must be there, or different messages would share one id and all but the first be dropped.`,
  );
}

/** What `sendOnce` needs of a client: an `SQSClient` or an `SNSClient`, of any version 3. */
export interface MessageClient {
  // biome-ignore lint/suspicious/noExplicitAny: public types must not reach the SDK's commands, and every client has its own
  send(command: any): Promise<any>;
}

/** A message attribute, as SQS and SNS take it. */
export interface MessageAttribute {
  readonly DataType: string;
  readonly StringValue?: string;
  readonly BinaryValue?: Uint8Array;
}

interface FifoMessage {
  /** Messages of one group stay in order. 1 to 128 printable ASCII characters, no space. */
  readonly MessageGroupId: string;
  readonly MessageAttributes?: Readonly<Record<string, MessageAttribute>>;
}

/** A message to a FIFO queue: `SendMessage`'s own parameters. */
export interface QueueMessage extends FifoMessage {
  /** Ends in `.fifo`. */
  readonly QueueUrl: string;
  readonly MessageBody: string;
  readonly MessageSystemAttributes?: Readonly<Record<string, MessageAttribute>>;
}

/** A message to a FIFO topic: `Publish`'s own parameters. */
export interface TopicMessage extends FifoMessage {
  /** Ends in `.fifo`. */
  readonly TopicArn: string;
  readonly Message: string;
  readonly Subject?: string;
  readonly MessageStructure?: string;
}

/** What SQS or SNS answered. Neither says whether it dropped the message as a repeat. */
export interface SentMessage {
  readonly MessageId?: string;
  /** Large, growing within a message group, not consecutive. */
  readonly SequenceNumber?: string;
}

/**
 * Sends a message to a FIFO queue or topic under `deduplicationId(...identity)`. A repeat within five minutes of the first
 * send is accepted but not delivered, whatever its body. With high throughput (`DeduplicationScope` or `FifoThroughputScope`
 * by message group) that holds within one message group. The consumer's guard catches a later repeat.
 *
 * The id is also the message attribute `idempotencyKey`, which `messageKey` reads, unless the message has one of that name.
 *
 * Loads `@aws-sdk/client-sqs` or `@aws-sdk/client-sns` at the first send.
 *
 * @throws `BAD_OPTION`, before anything is sent, for a standard queue or topic, a missing group or body and unknown parameters;
 * what `deduplicationId` throws; `UNSUPPORTED` where that package is not installed; the client's errors as they are.
 * @example await sendOnce(sqs, { QueueUrl, MessageGroupId, MessageBody }, operation(context), 'receipt')
 */
export async function sendOnce(
  client: MessageClient,
  message: QueueMessage | TopicMessage,
  ...identity: MessageIdentity
): Promise<SentMessage> {
  const service = checkMessage(client, message);
  const MessageDeduplicationId = deduplicationId(...(identity as unknown as [Operation, string]));
  const MessageAttributes = { ...keyAttribute(MessageDeduplicationId), ...message.MessageAttributes };
  const command = await service.command({ ...message, MessageDeduplicationId, MessageAttributes } as never);
  return client.send(command);
}

const services = {
  SQS: {
    destination: 'QueueUrl',
    body: 'MessageBody',
    known: ['QueueUrl', 'MessageBody', 'MessageGroupId', 'MessageAttributes', 'MessageSystemAttributes'],
    kind: 'queue',
    command: async (input: never): Promise<object> => {
      const { SendMessageCommand } = await loadSqs();
      return new SendMessageCommand(input);
    },
  },
  SNS: {
    destination: 'TopicArn',
    body: 'Message',
    known: ['TopicArn', 'Message', 'MessageGroupId', 'MessageAttributes', 'Subject', 'MessageStructure'],
    kind: 'topic',
    command: async (input: never): Promise<object> => {
      const { PublishCommand } = await loadSns();
      return new PublishCommand(input);
    },
  },
} as const;

function checkMessage(client: unknown, message: unknown): (typeof services)['SQS' | 'SNS'] {
  if (!isRecord(client) || !isFunction(client.send)) {
    throw badMessage(`Expected an SQSClient or an SNSClient as the first argument, got ${kindOf(client)}.`);
  }
  if (!isRecord(message) || 'QueueUrl' in message === 'TopicArn' in message) {
    throw badMessage(
      'Expected a message with QueueUrl (and MessageBody), or one with TopicArn (and Message), and not with both.',
    );
  }
  const name = 'QueueUrl' in message ? 'SQS' : 'SNS';
  const { destination, body, known, kind } = services[name];
  const serviceId = isRecord(client.config) ? client.config.serviceId : undefined;
  if ((serviceId === 'SQS' || serviceId === 'SNS') && serviceId !== name) {
    throw badMessage(
      `A message with ${destination} needs an ${name}Client; this one is an ${serviceId}Client.`,
    );
  }
  checkKnown('', message, known);
  const to = message[destination];
  if (typeof to !== 'string' || !to.endsWith('.fifo')) {
    throw badMessage(
      `Expected ${destination} of a FIFO ${kind}, which ends in '.fifo', got ${typeof to === 'string' ? 'another one' : kindOf(to)}. A standard ${kind} delivers every send: create a FIFO ${kind}, or send with the client itself and guard the consumer.`,
    );
  }
  const group = message.MessageGroupId;
  if (typeof group !== 'string' || !/^[\x21-\x7e]{1,128}$/.test(group)) {
    throw badMessage(
      `Expected MessageGroupId to be 1 to 128 printable ASCII characters without a space, got ${typeof group === 'string' ? `a string of ${group.length}` : kindOf(group)}. Name what must stay in order, such as the order's or the customer's id.`,
    );
  }
  const attributes = Object.keys({
    ...keyAttribute(''),
    ...(message.MessageAttributes as object | undefined),
  });
  if (attributes.length > maxMessageAttributes) {
    throw badMessage(
      `The message has ${attributes.length - 1} attributes, and with the id there are ${attributes.length}; SQS takes ${maxMessageAttributes}. Give at most ${maxMessageAttributes - 1}.`,
    );
  }
  if (typeof message[body] !== 'string' || message[body] === '') {
    throw badMessage(
      `Expected ${body} to be a string, got ${message[body] === '' ? 'an empty one' : kindOf(message[body])}. Send JSON as JSON.stringify(value).`,
    );
  }
  return services[name];
}

const badMessage = (message: string): IdempotencyError => new IdempotencyError('BAD_OPTION', message);
