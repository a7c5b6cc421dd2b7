/**
 * For tests of handlers: a clock that stands still, and complete events as services send them.
 * This room decides what an event looks like where a test does not say. No handler needs it at run time.
 */
export {
  type DynamoChange,
  dynamoStreamEvent,
  type KinesisData,
  kinesisEvent,
  type SnsNotification,
  type SqsMessage,
  snsEvent,
  sqsEvent,
} from './batch-events.ts';
export {
  type AlbRequest,
  albEvent,
  type HttpRequest,
  httpEventV1,
  httpEventV2,
  type RestRequest,
} from './http-events.ts';
export { type ManualClock, manualClock } from './manual-clock.ts';
