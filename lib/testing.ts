/** What tests of handlers import, as `idemkit/testing`. */
export { type MemoryRecord, type MemoryStore, type MemoryStoreOptions, memoryStore } from './store/index.ts';
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
  type ManualClock,
  manualClock,
  type RestRequest,
  type SnsNotification,
  type SqsMessage,
  snsEvent,
  sqsEvent,
} from './testing/index.ts';
