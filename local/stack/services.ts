import { DynamoDBClient } from '@aws-sdk/client-dynamodb';
import { DynamoDBStreamsClient } from '@aws-sdk/client-dynamodb-streams';
import { SQSClient } from '@aws-sdk/client-sqs';
import {
  type Authorizer,
  type Call,
  createTable,
  credentials,
  dynamodbCalls,
  type LocalQueues,
  type LocalTable,
  messagingCalls,
  refusalAnswer,
  region,
  sqsOrigin,
  startDynamoDb,
  startQueues,
} from '../aws/index.ts';
import {
  type FaultProxy,
  type KillPoints,
  type ProxiedRequest,
  type ServiceAnswer,
  startFaultProxy,
} from '../faults/index.ts';
import type { StackDescription, StackOptions } from './description.ts';

/** DynamoDB, with a proxy between it and the functions. */
export interface Database {
  /** Goes straight to it. */
  readonly client: DynamoDBClient;
  /** A client for readers of streams: through the checks of IAM under an access key id, else straight to DynamoDB. */
  streamsFor(accessKeyId: string | undefined): DynamoDBStreamsClient;
  /** The same for a pipe, whose requests carry its name. */
  streamsForPipe(pipe: string, accessKeyId: string | undefined): Promise<DynamoDBStreamsClient>;
  readonly faults: FaultProxy;
  /** What pipes, and pollers with a role, reach streams through. */
  readonly pollerFaults: FaultProxy;
  readonly tables: ReadonlyMap<string, LocalTable>;
}

export type Endings = (() => unknown)[];

export async function startDatabase(
  description: StackDescription,
  options: StackOptions,
  kills: KillPoints,
  authorizer: Authorizer,
  endings: Endings,
): Promise<Database> {
  const given = options.dynamodbEndpoint ?? (process.env.DYNAMODB_ENDPOINT || undefined);
  const server = await startDynamoDb(given === undefined ? {} : { endpoint: given });
  endings.push(() => server.stop());
  const client = new DynamoDBClient({ endpoint: server.endpoint, region, credentials });
  endings.push(() => client.destroy());
  const answerFor = answerUnlessAllowed(authorizer, dynamodbCalls);
  const faults = await startFaultProxy(server.endpoint, { strike: kills.strikeFor('dynamodb'), answerFor });
  endings.push(() => faults.stop());
  // A proxy of their own: faults that are meant for functions leave pollers alone.
  const strike = kills.strikeForPipes('dynamodb');
  const pollerFaults = await startFaultProxy(server.endpoint, { strike, answerFor });
  endings.push(() => pollerFaults.stop());
  const streamsAt = (endpoint: string, accessKeyId = credentials.accessKeyId): DynamoDBStreamsClient => {
    const streams = new DynamoDBStreamsClient({
      ...{ region, endpoint },
      credentials: { ...credentials, accessKeyId },
    });
    endings.push(() => streams.destroy());
    return streams;
  };
  const tables = new Map<string, LocalTable>();
  await Promise.all(
    (description.tables ?? []).map(async (table) => {
      const created = await createTable(client, typeof table === 'string' ? { name: table } : table);
      tables.set(created.name, created);
      // A DynamoDB that we started ends with its tables.
      if (given !== undefined) endings.push(() => created.remove());
    }),
  );
  return {
    client,
    faults,
    pollerFaults,
    tables,
    streamsFor: (accessKeyId) =>
      streamsAt(accessKeyId === undefined ? server.endpoint : pollerFaults.endpoint, accessKeyId),
    streamsForPipe: async (pipe, accessKeyId) => streamsAt(await pollerFaults.endpointFor(pipe), accessKeyId),
  };
}

function answerUnlessAllowed(
  authorizer: Authorizer,
  callsOf: (request: ProxiedRequest) => readonly Call[],
): (request: ProxiedRequest) => ServiceAnswer | undefined {
  return (request) => {
    const refusal = authorizer.refusal(request.accessKeyId, callsOf(request));
    return refusal && refusalAnswer(refusal);
  };
}

/** Queues and topics, with a proxy between them and the functions. */
export interface Messaging {
  readonly queues: LocalQueues;
  /** For pollers: through the checks of IAM under an access key id, else straight to the queues. */
  queuesFor(accessKeyId: string | undefined): QueueAccess;
  /** The same for a pipe, whose requests carry its name. */
  queuesForPipe(pipe: string, accessKeyId: string | undefined): Promise<QueueAccess>;
  readonly faults: FaultProxy;
  /** What pipes, and pollers with a role, reach queues through. */
  readonly pollerFaults: FaultProxy;
}

interface QueueAccess {
  readonly client: SQSClient;
  urlOf(queue: string): string;
}

export async function startMessaging(
  { queues = {}, topics = {} }: StackDescription,
  kills: KillPoints,
  authorizer: Authorizer,
  endings: Endings,
): Promise<Messaging | undefined> {
  // Loading fauxqs takes a quarter of a second.
  if (Object.keys(queues).length + Object.keys(topics).length === 0) return undefined;
  const started = await startQueues(queues, topics);
  endings.push(() => started.stop());
  const answerFor = answerUnlessAllowed(authorizer, messagingCalls);
  const faults = await startFaultProxy(started.endpoint, { strike: kills.strikeFor('queues'), answerFor });
  endings.push(() => faults.stop());
  const strike = kills.strikeForPipes('queues');
  const pollerFaults = await startFaultProxy(started.endpoint, { strike, answerFor });
  endings.push(() => pollerFaults.stop());
  const accessAt = (endpoint: string, accessKeyId = credentials.accessKeyId): QueueAccess => {
    const client = new SQSClient({ endpoint, region, credentials: { ...credentials, accessKeyId } });
    endings.push(() => client.destroy());
    // The SDK sends to the origin of a queue's URL and ignores the endpoint.
    return { client, urlOf: (name) => started.queue(name).url.replace(started.endpoint, endpoint) };
  };
  return {
    queues: started,
    faults,
    pollerFaults,
    queuesFor: (accessKeyId) =>
      accessKeyId === undefined
        ? { client: started.client, urlOf: (name) => started.queue(name).url }
        : accessAt(pollerFaults.endpoint, accessKeyId),
    queuesForPipe: async (pipe, accessKeyId) => accessAt(await pollerFaults.endpointFor(pipe), accessKeyId),
  };
}

export function present(messaging: Messaging | undefined): Messaging {
  if (messaging === undefined) throw new RangeError('There is no queue and no topic in this stack.');
  return messaging;
}

export interface Upstream {
  readonly origin: string;
  readonly faults: FaultProxy;
}

export async function startUpstreams(
  { upstreams = {} }: StackDescription,
  kills: KillPoints,
  endings: Endings,
): Promise<ReadonlyMap<string, Upstream>> {
  const started = new Map<string, Upstream>();
  for (const [name, url] of Object.entries(upstreams)) {
    const { origin } = new URL(url);
    const faults = await startFaultProxy(origin, { strike: kills.strikeFor(name) });
    endings.push(() => faults.stop());
    started.set(name, { origin, faults });
  }
  return started;
}

export interface Doors {
  /** Variables that the SDK reads itself, so that a function runs here without a change. */
  readonly variables: Readonly<Record<string, string>>;
  /** Pairs of an origin that an environment may name, and the local one that replaces it. */
  readonly origins: readonly (readonly [string, string])[];
}

/** Opens endpoints for one function alone. Its requests are recognised by them. */
export async function openDoors(
  functionName: string,
  accessKeyId: string | undefined,
  database: Database,
  messaging: Messaging | undefined,
  upstreams: ReadonlyMap<string, Upstream>,
): Promise<Doors> {
  const queueDoor = await messaging?.faults.endpointFor(functionName);
  const upstreamDoors = [...upstreams.values()].map(
    async ({ origin, faults }) => [origin, await faults.endpointFor(functionName)] as const,
  );
  return {
    variables: {
      ...(accessKeyId !== undefined && { AWS_ACCESS_KEY_ID: accessKeyId }),
      AWS_ENDPOINT_URL_DYNAMODB: await database.faults.endpointFor(functionName),
      ...(queueDoor !== undefined && { AWS_ENDPOINT_URL_SQS: queueDoor, AWS_ENDPOINT_URL_SNS: queueDoor }),
    },
    origins: [
      // The SDK sends to the origin of a queue's URL and ignores the endpoint.
      ...(queueDoor !== undefined ? [[sqsOrigin, queueDoor] as const] : []),
      ...(await Promise.all(upstreamDoors)),
    ],
  };
}

export function localized(
  environment: Readonly<Record<string, string>>,
  origins: Doors['origins'],
): Record<string, string> {
  const local = new Map(origins);
  const alternatives = [...local.keys()].map((origin) => origin.replaceAll(/[.[\]]/g, '\\$&')).join('|');
  // The lookahead leaves longer ports and host names alone that begin in the same way.
  const origin = new RegExp(`(?:${alternatives})(?![\\w.:-])`, 'g');
  const entries = Object.entries(environment).map(([name, value]) => [
    name,
    local.size === 0 ? value : value.replace(origin, (found) => local.get(found) ?? found),
  ]);
  return Object.fromEntries(entries) as Record<string, string>;
}
