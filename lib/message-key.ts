/**
 * The key that a message carries on all its ways: through a relay, a pipe or a topic, into a dead-letter queue and back. SQS's own
 * ids do not last that long: a dead letter of a FIFO queue loses its deduplication id, a redrive its message id.
 */
import { isRecord } from './validate.ts';

/** Name of the message attribute, and of the property of a JSON body, that carries the key. */
export const carriedKey = 'idempotencyKey';

/** SQS takes no more on one message. */
export const maxMessageAttributes = 10;

/** The attribute, as SQS and SNS take it. */
export const keyAttribute = (key: string) => ({ [carriedKey]: { DataType: 'String', StringValue: key } });

/**
 * A `key` for consumers of what `relayOutbox`, `sendOnce` or an `OutboxPipe` has sent: the deduplication id that the message was
 * sent with first, and in a FIFO queue its group before it. It is the same when the message is published again, redriven from a
 * dead-letter queue or sent anew by hand.
 *
 * It is read from the message attribute `idempotencyKey`, which the relay and `sendOnce` set, and else from the property
 * `idempotencyKey` of a JSON body, where a message staged with `keyInBody` has it (a pipe carries no attributes). In SNS's envelope
 * and in an event of EventBridge it is found too.
 *
 * Whoever may send to the queue may choose a key, and so have somebody else's message taken for a repeat. Use it where all senders are trusted.
 *
 * @returns `undefined` for a message that carries none
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
  // Most texts are read for nothing else.
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
  // An event of EventBridge, and SNS's envelope.
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
