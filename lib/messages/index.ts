/**
 * Messages that are sent once: the relay of the outbox, sends with a deduplication id, and the key that travels with a message.
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
