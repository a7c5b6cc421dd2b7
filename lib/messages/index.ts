/**
 * Sends messages so that each counts once: the relay of the outbox, and sends with a deduplication id.
 * This room decides which id a message carries and when it leaves the outbox. It never claims and never settles.
 */
export { type Destination, type RelayOptions, relayOutbox } from './relay.ts';
export {
  deduplicationId,
  type MessageAttribute,
  type MessageClient,
  type MessageIdentity,
  type QueueMessage,
  type SentMessage,
  sendOnce,
  type TopicMessage,
} from './send-once.ts';
