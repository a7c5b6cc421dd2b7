/**
 * The key that a message carries with it: through a relay, a pipe or a topic, into a dead-letter queue and back.
 * SQS's own ids do not last: a dead letter of a FIFO queue loses its deduplication id, and a redrive gives a new message id.
 */
import { isRecord } from './validate.ts';

/** The name of the message attribute, or of the property of a JSON body, that carries the key. */
export const carriedKey = 'idempotencyKey';

/** SQS takes at most ten attributes on one message. */
export const maxMessageAttributes = 10;

/** The key as a message attribute of SQS and SNS. */
export const keyAttribute = (key: string) => ({ [carriedKey]: { DataType: 'String', StringValue: key } });

/**
 * For the option `key` of a consumer of messages that `relayOutbox`, `sendOnce` or an `OutboxPipe` has sent. The key is the
 * deduplication id that the message was first sent with; in a FIFO queue, the group and that id. It stays the same when
 * the message is published again, redriven from a dead-letter queue, or sent again by hand.
 *
 * The key is read from the message attribute `idempotencyKey`, which the relay and `sendOnce` set. Without it, the key is
 * read from the property `idempotencyKey` of a JSON body. A message that was staged with `keyInBody` has that, because a
 * pipe carries no attributes. Both are also found inside SNS's envelope and inside an event of EventBridge.
 *
 * Use it where all senders are trusted. Anyone who may send to the queue may choose a key, and so make somebody else's
 * message look like a repeat.
 *
 * @returns `undefined` for a message without a key
 * @example idempotent(eachRecord(book), { key: messageKey })
 */
export function messageKey(record: unknown): readonly string[] | undefined {
  if (!isRecord(record)) return undefined;
  const { Sns, attributes, eventSourceARN } = record;
  if (isRecord(Sns)) return listOf(keyInTopic(Sns.MessageAttributes, Sns.Message));
  if (record.eventSource !== 'aws:sqs') return listOf(keyInBody(record));
  const key = textIn(own(record.messageAttributes, carriedKey), 'stringValue') ?? keyInText(record.body);
  const group = String(eventSourceARN).endsWith('.fifo') ? own(attributes, 'MessageGroupId') : undefined;
  return key !== undefined && typeof group === 'string' ? [group, key] : listOf(key);
}

const listOf = (key: string | undefined): string[] | undefined => (key === undefined ? undefined : [key]);

const keyInTopic = (attributes: unknown, message: unknown): string | undefined =>
  textIn(own(attributes, carriedKey), 'Value') ?? keyInText(message);

function keyInText(text: unknown): string | undefined {
  if (typeof text !== 'string') return keyInBody(text);
  // Parse only texts that may hold a key.
  if (!text.includes(carriedKey)) return undefined;
  try {
    return keyInBody(JSON.parse(text));
  } catch {
    return undefined;
  }
}

function keyInBody(body: unknown): string | undefined {
  const key = textIn(body, carriedKey);
  if (key !== undefined) return key;
  // The body may be an event of EventBridge or SNS's envelope.
  if (typeof own(body, 'detail-type') === 'string') return textIn(own(body, 'detail'), carriedKey);
  if (own(body, 'Type') !== 'Notification') return undefined;
  return keyInTopic(own(body, 'MessageAttributes'), own(body, 'Message'));
}

function textIn(value: unknown, name: string): string | undefined {
  const text = own(value, name);
  return typeof text === 'string' && text.trim() !== '' ? text : undefined;
}

const own = (value: unknown, name: string): unknown =>
  isRecord(value) && Object.hasOwn(value, name) ? value[name] : undefined;
