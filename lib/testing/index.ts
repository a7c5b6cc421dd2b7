/**
 * What tests of handlers need: a clock that stands still, and events as services send them.
 */
export {
  type AlbRequest,
  albEvent,
  type DynamoChange,
  dynamoStreamEvent,
  type HttpRequest,
  httpEventV1,
  httpEventV2,
  type KinesisData,
  kinesisEvent,
  type RestRequest,
  type SnsNotification,
  type SqsMessage,
  snsEvent,
  sqsEvent,
} from './events.ts';
export { type ManualClock, manualClock } from './manual-clock.ts';
