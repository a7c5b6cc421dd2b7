/**
 * AWS on this machine: DynamoDB Local, queues and topics, functions in processes of their own, HTTP APIs, permissions, pipes, event
 * sources. Each does what AWS documents, and refuses what it does not know.
 */
export { accountId, credentials, queueArn, queueUrl, region, sqsOrigin } from './account.ts';
export { type ApiOptions, type Callers, type Route, startApi } from './api.ts';
export { dynamodbCalls, messagingCalls, streamArn, tableArn } from './aws-calls.ts';
export { startDynamoDb } from './dynamodb.ts';
export { createTable, type LocalTable, type TableDescription } from './dynamodb-tables.ts';
export type { FilterPattern } from './event-filter.ts';
export type { EventSource } from './event-source.ts';
export type { LocalQueue } from './fauxqs-queue.ts';
export {
  type Authorizer,
  type Call,
  createAuthorizer,
  managedPolicy,
  matchesWildcards,
  type RoleDescription,
  refusalAnswer,
  type Statement,
  statementsOf,
  trustedServices,
} from './iam.ts';
export {
  createFunction,
  type FunctionDescription,
  type Invocation,
  type LocalFunction,
  type LogLine,
} from './lambda.ts';
export { checkPipe, type LocalPipe, type PipeDescription, startPipe } from './pipes.ts';
export type { QueueDescription, TopicDescription } from './queue-descriptions.ts';
export { type LocalQueues, startQueues } from './queues.ts';
export {
  checkSqsEventSource,
  type SqsEventSourceDescription,
  startSqsEventSource,
} from './sqs-event-source.ts';
export {
  checkStreamEventSource,
  type Discarded,
  type StreamEventSource,
  type StreamEventSourceDescription,
  startStreamEventSource,
} from './stream-event-source.ts';
