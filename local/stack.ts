import { DynamoDBClient } from '@aws-sdk/client-dynamodb';
import { DynamoDBStreamsClient } from '@aws-sdk/client-dynamodb-streams';
import type { SQSClient } from '@aws-sdk/client-sqs';
import { credentials, region, sqsOrigin } from './account.ts';
import { type Route, startApi } from './api.ts';
import { startDynamoDb } from './dynamodb.ts';
import type { EventSource } from './event-source.ts';
import { type FaultProxy, startFaultProxy } from './fault-proxy.ts';
import {
  createKillPoints,
  type FunctionRequest,
  type KillPoint,
  type KillPointOptions,
  type KillPoints,
} from './kill-points.ts';
import {
  createFunction,
  type FunctionDescription,
  type Invocation,
  type LocalFunction,
  type LogLine,
} from './lambda.ts';
import {
  type LocalQueue,
  type LocalQueues,
  type QueueDescription,
  startQueues,
  type TopicDescription,
} from './queues.ts';
import {
  checkSqsEventSource,
  type SqsEventSourceDescription,
  startSqsEventSource,
} from './sqs-event-source.ts';
import {
  checkStreamEventSource,
  type StreamEventSource,
  type StreamEventSourceDescription,
  startStreamEventSource,
} from './stream-event-source.ts';
import { createTable, type LocalTable, type TableDescription } from './tables.ts';

/** A stack, in plain data: what there is and who calls whom. */
export interface StackDescription {
  /** A name alone is a table for records. */
  readonly tables?: readonly (string | TableDescription)[];
  readonly queues?: Readonly<Record<string, QueueDescription>>;
  readonly topics?: Readonly<Record<string, TopicDescription>>;
  /**
   * Base URLs of HTTP servers that functions call, by name. Where a function's environment has such a URL, the function
   * finds a proxy in front of it.
   */
  readonly upstreams?: Readonly<Record<string, string>>;
  /** Their environments may have what `queueUrl()`, `queueArn()` and `topicArn()` say. */
  readonly functions?: Readonly<Record<string, FunctionDescription>>;
  readonly eventSources?: readonly (SqsEventSourceDescription | StreamEventSourceDescription)[];
  readonly routes?: readonly Route[];
}

export interface StackOptions {
  /** A DynamoDB that already runs, over plain HTTP. @default `DYNAMODB_ENDPOINT`, else one is started */
  readonly dynamodbEndpoint?: string;
  /** Told every line that a function logs. */
  readonly onLog?: (line: LogLine) => void;
}

export interface Stack {
  /** Base URL of the routes. */
  readonly url: string;
  /** What the functions reach DynamoDB through: loses, delays and refuses requests on demand. */
  readonly faults: FaultProxy;
  /** What the functions reach queues and topics through. @throws RangeError when the description has none */
  readonly queueFaults: FaultProxy;
  /** What the functions reach an upstream through. @throws RangeError when the description has none of that name */
  upstreamFaults(name: string): FaultProxy;
  /** A client that goes straight to DynamoDB. */
  readonly dynamodb: DynamoDBClient;
  /** A client that goes straight to the queues. @throws RangeError when the description has none */
  readonly sqs: SQSClient;
  /** Every line that the functions have logged. Live; a line is here before the answer that followed it. */
  readonly logs: readonly LogLine[];
  /** Every request that the functions have sent, whatever to, in the order of arrival. Live. */
  readonly requests: readonly FunctionRequest[];
  /**
   * Kills the function that sends a certain one of the next requests, before or after it takes effect: all processes of
   * that function that are working then. Once only.
   *
   * @throws RangeError for a `request` that is no whole number from 1 up
   */
  killAt(options: KillPointOptions): KillPoint;
  /** @throws RangeError when the description has none of that name */
  function(name: string): LocalFunction;
  /** @throws RangeError when the description has none of that name */
  queue(name: string): LocalQueue;
  /** Resolves once the functions have dealt with everything that is in the table's stream by now. */
  streamDrained(table: string): Promise<void>;
  /** Ends everything that was started, and waits for it. May be called twice. */
  stop(): Promise<void>;
}

/**
 * Starts a stack on this machine: tables in a real DynamoDB, queues, functions in processes of their own, pollers that
 * bring them messages and stream records, routes on an HTTP server. When a part cannot be started, those that were are
 * stopped again.
 *
 * @throws Error with what is wrong with the description, or what is missing on this machine and how to get it
 */
export async function startStack(description: StackDescription, options: StackOptions = {}): Promise<Stack> {
  const endings: (() => unknown)[] = [];
  let stopping: Promise<void> | undefined;
  const stop = (): Promise<void> => {
    stopping ??= endAll(endings);
    return stopping;
  };

  const functions = new Map<string, LocalFunction>();
  const functionNamed = (name: string): LocalFunction => named(functions, 'function', name);
  const kills = createKillPoints((name) => functionNamed(name).crash());
  endings.push(() => kills.stop());

  try {
    check(description);
    const [database, messaging, upstreams] = await allStarted([
      startDatabase(description, options, kills, endings),
      startMessaging(description, kills, endings),
      startUpstreams(description, kills, endings),
    ]);

    const logs: LogLine[] = [];
    const onLog = (line: LogLine): void => {
      logs.push(line);
      options.onLog?.(line);
    };
    const sources: { readonly of: string; readonly source: EventSource | StreamEventSource }[] = [];
    // Only after the functions, which are what a poller may be waiting for.
    endings.push(() => Promise.all(sources.map(({ source }) => source.ended)));
    for (const [name, { environment = {}, ...rest }] of Object.entries(description.functions ?? {})) {
      const doors = await openDoors(name, database, messaging, upstreams);
      const local = { ...doors.variables, ...localized(environment, doors.origins) };
      const created = createFunction(name, { ...rest, environment: local }, onLog);
      functions.set(name, created);
      endings.push(() => created.stop());
    }

    endings.push(() => {
      for (const { source } of sources) source.stop();
    });
    for (const mapping of description.eventSources ?? []) {
      const invoke = (event: unknown): Promise<Invocation> => functionNamed(mapping.function).invoke(event);
      if ('queue' in mapping) {
        const { client } = present(messaging).queues;
        const { url, arn } = present(messaging).queues.queue(mapping.queue);
        const source = startSqsEventSource(mapping, { client, queueUrl: url, queueArn: arn, invoke });
        sources.push({ of: mapping.queue, source });
      } else {
        const { streamArn = '' } = named(database.tables, 'table', mapping.stream);
        const onDiscard = (numbers: readonly string[]): void =>
          onLog({ functionName: mapping.function, text: `Discarded: ${numbers.join(', ')}` });
        const source = startStreamEventSource(mapping, {
          client: database.streams,
          streamArn,
          invoke,
          onDiscard,
        });
        sources.push({ of: mapping.stream, source });
      }
    }

    const api = await startApi(description.routes ?? [], (name, event) => functionNamed(name).invoke(event));
    endings.push(() => api.stop());

    return {
      url: api.url,
      faults: database.faults,
      dynamodb: database.client,
      get queueFaults() {
        return present(messaging).faults;
      },
      get sqs() {
        return present(messaging).queues.client;
      },
      upstreamFaults: (name) => named(upstreams, 'upstream', name).faults,
      logs,
      requests: kills.requests,
      killAt: kills.killAt,
      function: functionNamed,
      queue: (name) => present(messaging).queues.queue(name),
      async streamDrained(table) {
        const readers = sources.flatMap(({ of, source }) =>
          of === table && 'drained' in source ? [source] : [],
        );
        if (readers.length === 0) throw new RangeError(`Nothing reads a stream of '${table}' in this stack.`);
        await Promise.all(readers.map((reader) => reader.drained()));
      },
      stop,
    };
  } catch (error) {
    await stop().catch(() => {});
    throw error;
  }
}

/** What can be seen before anything is started. */
function check({
  functions = {},
  routes = [],
  eventSources = [],
  tables = [],
  queues = {},
}: StackDescription): void {
  const callers = [
    ...routes.map((route) => ({ says: `Route ${route.method} ${route.path}`, calls: route.function })),
    ...eventSources.map((source) => ({
      says: `Event source '${'queue' in source ? source.queue : source.stream}'`,
      calls: source.function,
    })),
  ];
  for (const { says, calls } of callers) {
    if (calls in functions) continue;
    throw new Error(
      `${says} calls '${calls}', which is none of the functions (${Object.keys(functions).join(', ')}).`,
    );
  }
  for (const source of eventSources) {
    if ('queue' in source) {
      checkSqsEventSource(source);
      if (source.queue in queues) continue;
      throw new Error(
        `Event source '${source.queue}' is none of the queues (${Object.keys(queues).join(', ')}).`,
      );
    }
    checkStreamEventSource(source);
    const table = tables.find((one) => nameOf(one) === source.stream);
    if (typeof table === 'object' && table.stream !== undefined) continue;
    throw new Error(
      `Event source '${source.stream}' is no table with a stream: describe it as { name: '${source.stream}', stream: 'NEW_IMAGE' }.`,
    );
  }
}

const nameOf = (table: string | TableDescription): string => (typeof table === 'string' ? table : table.name);

interface Database {
  readonly client: DynamoDBClient;
  readonly streams: DynamoDBStreamsClient;
  readonly faults: FaultProxy;
  readonly tables: ReadonlyMap<string, LocalTable>;
}

type Endings = (() => unknown)[];

async function startDatabase(
  description: StackDescription,
  options: StackOptions,
  kills: KillPoints,
  endings: Endings,
): Promise<Database> {
  const given = options.dynamodbEndpoint ?? (process.env.DYNAMODB_ENDPOINT || undefined);
  const server = await startDynamoDb(given === undefined ? {} : { endpoint: given });
  endings.push(() => server.stop());
  const client = new DynamoDBClient({ endpoint: server.endpoint, region, credentials });
  const streams = new DynamoDBStreamsClient({ endpoint: server.endpoint, region, credentials });
  endings.push(
    () => client.destroy(),
    () => streams.destroy(),
  );
  const faults = await startFaultProxy(server.endpoint, { strike: kills.strikeFor('dynamodb') });
  endings.push(() => faults.stop());
  const tables = new Map<string, LocalTable>();
  await Promise.all(
    (description.tables ?? []).map(async (table) => {
      const created = await createTable(client, typeof table === 'string' ? { name: table } : table);
      tables.set(created.name, created);
      // One that we started takes its tables with it.
      if (given !== undefined) endings.push(() => created.remove());
    }),
  );
  return { client, streams, faults, tables };
}

interface Messaging {
  readonly queues: LocalQueues;
  readonly faults: FaultProxy;
}

async function startMessaging(
  { queues = {}, topics = {} }: StackDescription,
  kills: KillPoints,
  endings: Endings,
): Promise<Messaging | undefined> {
  // It takes a quarter of a second to load.
  if (Object.keys(queues).length + Object.keys(topics).length === 0) return undefined;
  const started = await startQueues(queues, topics);
  endings.push(() => started.stop());
  const faults = await startFaultProxy(started.endpoint, { strike: kills.strikeFor('queues') });
  endings.push(() => faults.stop());
  return { queues: started, faults };
}

function present(messaging: Messaging | undefined): Messaging {
  if (messaging === undefined) throw new RangeError('There is no queue and no topic in this stack.');
  return messaging;
}

interface Upstream {
  readonly origin: string;
  readonly faults: FaultProxy;
}

async function startUpstreams(
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

interface Doors {
  /** What the SDK reads by itself, so that a function needs no code for being here. */
  readonly variables: Readonly<Record<string, string>>;
  /** What an environment may say, and what stands for it here. */
  readonly origins: readonly (readonly [string, string])[];
}

/** A function has endpoints of its own, which is how its requests are known. */
async function openDoors(
  functionName: string,
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
      AWS_ENDPOINT_URL_DYNAMODB: await database.faults.endpointFor(functionName),
      ...(queueDoor !== undefined && { AWS_ENDPOINT_URL_SQS: queueDoor, AWS_ENDPOINT_URL_SNS: queueDoor }),
    },
    origins: [
      // Not by the SDK: it sends to the origin of a queue's URL, whatever the endpoint.
      ...(queueDoor !== undefined ? [[sqsOrigin, queueDoor] as const] : []),
      ...(await Promise.all(upstreamDoors)),
    ],
  };
}

function localized(
  environment: Readonly<Record<string, string>>,
  origins: Doors['origins'],
): Record<string, string> {
  const local = new Map(origins);
  const alternatives = [...local.keys()].map((origin) => origin.replaceAll(/[.[\]]/g, '\\$&')).join('|');
  // Not where it is only the beginning of a longer port or host name.
  const origin = new RegExp(`(?:${alternatives})(?![\\w.:-])`, 'g');
  const entries = Object.entries(environment).map(([name, value]) => [
    name,
    local.size === 0 ? value : value.replace(origin, (found) => local.get(found) ?? found),
  ]);
  return Object.fromEntries(entries) as Record<string, string>;
}

function named<Thing>(things: ReadonlyMap<string, Thing>, kind: string, name: string): Thing {
  const found = things.get(name);
  if (found === undefined) throw new RangeError(`There is no ${kind} '${name}' in this stack.`);
  return found;
}

/** Fails only once all have ended their start: what did start can be stopped then. */
async function allStarted<Parts extends readonly unknown[]>(
  parts: {
    [Index in keyof Parts]: Promise<Parts[Index]>;
  },
): Promise<Parts> {
  await Promise.allSettled(parts);
  return Promise.all(parts) as unknown as Promise<Parts>;
}

/** The last one first, and each of them whatever became of the others. */
async function endAll(endings: (() => unknown)[]): Promise<void> {
  const failures: unknown[] = [];
  for (const end of endings.splice(0).reverse()) {
    try {
      await end();
    } catch (error) {
      failures.push(error);
    }
  }
  if (failures.length > 0) throw new AggregateError(failures, 'Not everything could be stopped.');
}
