import { GetQueueAttributesCommand } from '@aws-sdk/client-sqs';
import {
  type Authorizer,
  type Discarded,
  type EventSource,
  type Invocation,
  type LocalPipe,
  type LogLine,
  streamArn as nominalStreamArn,
  type PipeDescription,
  queueArn,
  type SqsEventSourceDescription,
  type StreamEventSource,
  type StreamEventSourceDescription,
  startPipe,
  startSqsEventSource,
  startStreamEventSource,
} from '../aws/index.ts';
import { type Database, type Messaging, present } from './services.ts';

/** What brings functions and queues their events. */
export interface Poller {
  /** The name of a queue or a table. */
  readonly of: string;
  readonly source: EventSource | StreamEventSource;
}

export interface PipePoller extends Poller {
  readonly source: LocalPipe;
}

interface Services {
  readonly database: Database;
  readonly messaging: Messaging | undefined;
  readonly authorizer: Authorizer;
  readonly onLog: (line: LogLine) => void;
}

interface EventSourceServices extends Services {
  /** The function's: Lambda polls with the function's role. @default nobody is asked */
  readonly accessKeyId: string | undefined;
  readonly invoke: (event: unknown) => Promise<Invocation>;
}

/** @throws Error when the function's role may not do what Lambda needs it for */
export function startEventSource(
  mapping: SqsEventSourceDescription | StreamEventSourceDescription,
  services: EventSourceServices,
): Promise<Poller> {
  return 'queue' in mapping ? pollQueue(mapping, services) : pollStream(mapping, services);
}

async function pollQueue(
  mapping: SqsEventSourceDescription,
  { messaging, authorizer, accessKeyId, invoke }: EventSourceServices,
): Promise<Poller> {
  const { client, urlOf } = present(messaging).queuesFor(accessKeyId);
  const queueUrl = urlOf(mapping.queue);
  const arn = queueArn(mapping.queue);
  // Lambda refuses the mapping otherwise.
  demand(authorizer, accessKeyId, mapping.function, arn, ['sqs:ReceiveMessage', 'sqs:DeleteMessage']);
  await client.send(new GetQueueAttributesCommand({ QueueUrl: queueUrl, AttributeNames: ['All'] }));
  const own = present(messaging).queuesFor(undefined);
  const retryWith = { client: own.client, queueUrl: own.urlOf(mapping.queue) };
  const source = startSqsEventSource(mapping, { client, queueUrl, queueArn: arn, invoke, retryWith });
  return { of: mapping.queue, source };
}

async function pollStream(
  mapping: StreamEventSourceDescription,
  { database, authorizer, accessKeyId, invoke, onLog }: EventSourceServices,
): Promise<Poller> {
  const { stream, function: functionName } = mapping;
  demand(authorizer, accessKeyId, functionName, nominalStreamArn(stream), streamActions);
  const onDiscard = ({ records }: Discarded): void => {
    const numbers = records.map(({ dynamodb }) => dynamodb?.SequenceNumber);
    onLog({ functionName, text: `Discarded: ${numbers.join(', ')}` });
  };
  const source = startStreamEventSource(mapping, {
    name: `event source of ${functionName}`,
    client: database.streamsFor(accessKeyId),
    streamArn: database.tables.get(stream)?.streamArn ?? '',
    invoke,
    onDiscard,
  });
  return { of: stream, source };
}

/** @throws Error when the pipe's role may not read the stream */
export async function startPipeFor(
  name: string,
  pipe: PipeDescription,
  services: Services,
): Promise<PipePoller> {
  const { database, messaging, authorizer, onLog } = services;
  const accessKeyId = pipe.role && authorizer.assume(pipe.role, 'pipes.amazonaws.com', name);
  demand(authorizer, accessKeyId, name, nominalStreamArn(pipe.stream), streamActions);
  const { client: sqs, urlOf } = await present(messaging).queuesForPipe(name, accessKeyId);
  const source = startPipe(name, pipe, {
    client: await database.streamsForPipe(name, accessKeyId),
    streamArn: database.tables.get(pipe.stream)?.streamArn ?? '',
    sqs,
    queueUrl: urlOf(pipe.queue),
    ...(pipe.deadLetterQueue !== undefined && { deadLetterQueueUrl: urlOf(pipe.deadLetterQueue) }),
    onError: (text) => onLog({ functionName: name, text }),
  });
  return { of: pipe.stream, source };
}

const streamActions = ['dynamodb:DescribeStream', 'dynamodb:GetRecords', 'dynamodb:GetShardIterator'];

function demand(
  authorizer: Authorizer,
  accessKeyId: string | undefined,
  name: string,
  resource: string,
  actions: readonly string[],
): void {
  if (accessKeyId === undefined) return;
  for (const action of actions) {
    if (authorizer.allows(accessKeyId, { action, resource })) continue;
    throw new Error(`'${name}': the role does not have permissions to call ${action} on ${resource}.`);
  }
}
