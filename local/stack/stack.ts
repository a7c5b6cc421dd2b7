import type { DynamoDBClient } from '@aws-sdk/client-dynamodb';
import type { SQSClient } from '@aws-sdk/client-sqs';
import {
  type Authorizer,
  checkPipe,
  checkSqsEventSource,
  checkStreamEventSource,
  createAuthorizer,
  createFunction,
  type LocalFunction,
  type LocalPipe,
  type LocalQueue,
  type LogLine,
  startApi,
  type TableDescription,
} from '../aws/index.ts';
import {
  createKillPoints,
  type Disturbance,
  type DisturbanceOptions,
  drawFaults,
  type FaultProxy,
  type FunctionRequest,
  type KillPoint,
  type KillPointOptions,
  type ProxiedRequest,
} from '../faults/index.ts';
import type { StackDescription, StackOptions } from './description.ts';
import { type Poller, startEventSource, startPipeFor } from './pollers.ts';
import { sendFor } from './queue-routes.ts';
import { localized, openDoors, present, startDatabase, startMessaging, startUpstreams } from './services.ts';

export interface Stack {
  /** Base URL of the routes. */
  readonly url: string;
  /** What the functions reach DynamoDB through: loses, delays and refuses requests on demand. */
  readonly faults: FaultProxy;
  /** What the functions reach queues and topics through. @throws RangeError when the description has none */
  readonly queueFaults: FaultProxy;
  /** What the functions reach an upstream through. @throws RangeError when the description has none of that name */
  upstreamFaults(name: string): FaultProxy;
  /** Calls back whenever a request of a function, a pipe or a queue's poller has ended; returns the way to stop that. */
  onRequest(listener: (request: ProxiedRequest) => void): () => void;
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
   * that function that are working then. A pipe forgets all but how far it has come, and starts anew. Once only.
   *
   * @throws RangeError for a `request` that is no whole number from 1 up
   */
  killAt(options: KillPointOptions): KillPoint;
  /**
   * From now on delays, repeats and breaks requests at random: of functions, of pipes, and of the pollers of queues. Kill points
   * and rules go first. One at a time.
   */
  disturb(options: DisturbanceOptions): Disturbance;
  /** @throws RangeError when the description has none of that name */
  function(name: string): LocalFunction;
  /** @throws RangeError when the description has none of that name */
  pipe(name: string): LocalPipe;
  /** @throws RangeError when the description has none of that name */
  queue(name: string): LocalQueue;
  /** The calls that roles have made and that their policies allowed. Live. */
  readonly exercised: Authorizer['exercised'];
  /** Resolves once the functions and pipes have dealt with everything that is in the table's stream by now. */
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
  const pipes = new Map<string, LocalPipe>();
  const kills = createKillPoints((name) => {
    const pipe = pipes.get(name);
    if (pipe === undefined) return functionNamed(name).crash();
    pipe.crash();
    return 1;
  });
  endings.push(() => kills.stop());

  try {
    check(description);
    const authorizer = createAuthorizer(description.roles ?? {});
    const [database, messaging, upstreams] = await allStarted([
      startDatabase(description, options, kills, authorizer, endings),
      startMessaging(description, kills, authorizer, endings),
      startUpstreams(description, kills, endings),
    ]);

    const logs: LogLine[] = [];
    const onLog = (line: LogLine): void => {
      logs.push(line);
      options.onLog?.(line);
    };
    const accessKeyIds = new Map<string, string>();
    const pollers: Poller[] = [];
    // Endings run backwards: this one after the functions have ended, which a poller may be waiting for.
    endings.push(() => Promise.all(pollers.map(({ source }) => source.ended)));
    for (const [name, { environment = {}, ...rest }] of Object.entries(description.functions ?? {})) {
      const accessKeyId = rest.role && authorizer.assume(rest.role, 'lambda.amazonaws.com', name);
      if (accessKeyId !== undefined) accessKeyIds.set(name, accessKeyId);
      const doors = await openDoors(name, accessKeyId, database, messaging, upstreams);
      const local = { ...doors.variables, ...localized(environment, doors.origins) };
      const created = createFunction(name, { ...rest, environment: local }, onLog);
      functions.set(name, created);
      endings.push(() => created.stop());
    }

    endings.push(() => {
      for (const { source } of pollers) source.stop();
    });
    const services = { database, messaging, authorizer, onLog };
    for (const mapping of description.eventSources ?? []) {
      const accessKeyId = accessKeyIds.get(mapping.function);
      const invoke = functionNamed(mapping.function).invoke;
      pollers.push(await startEventSource(mapping, { ...services, accessKeyId, invoke }));
    }
    for (const [name, pipe] of Object.entries(description.pipes ?? {})) {
      const poller = await startPipeFor(name, pipe, services);
      pollers.push(poller);
      pipes.set(name, poller.source);
    }

    const proxies = [
      database.faults,
      database.pollerFaults,
      ...(messaging ? [messaging.faults, messaging.pollerFaults] : []),
      ...[...upstreams.values()].map(({ faults }) => faults),
    ];
    const onProblem = (text: string): void => onLog({ functionName: 'api', text });
    const api = await startApi(description.routes ?? [], (name, event) => functionNamed(name).invoke(event), {
      ...(options.callers && { callers: options.callers }),
      send: sendFor(messaging, authorizer),
      onProblem,
    });
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
      onRequest(listener) {
        const endings = proxies.map((proxy) => proxy.onRequest(listener));
        return () => {
          for (const end of endings) end();
        };
      },
      upstreamFaults: (name) => named(upstreams, 'upstream', name).faults,
      logs,
      requests: kills.requests,
      killAt: kills.killAt,
      disturb(disturbance) {
        const { counts, faultFor } = drawFaults(disturbance);
        const endings = proxies.map((proxy) => proxy.disturb(faultFor));
        return {
          counts,
          async stop() {
            for (const end of endings) end();
            await Promise.all(proxies.map((proxy) => proxy.calm()));
          },
        };
      },
      get exercised() {
        return authorizer.exercised;
      },
      function: functionNamed,
      pipe: (name) => named(pipes, 'pipe', name),
      queue: (name) => present(messaging).queues.queue(name),
      async streamDrained(table) {
        const readers = pollers.flatMap(({ of, source }) =>
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

/** Finds mistakes of the description before anything is started. */
function check({
  functions = {},
  routes = [],
  eventSources = [],
  tables = [],
  queues = {},
  pipes = {},
}: StackDescription): void {
  const callers = [
    ...routes.flatMap((route) =>
      'function' in route ? [{ says: `Route ${route.method} ${route.path}`, calls: route.function }] : [],
    ),
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
      checkQueue(`Event source '${source.queue}'`, source.queue);
    } else {
      checkStreamEventSource(source);
      checkStream(`Event source '${source.stream}'`, source.stream);
    }
  }
  for (const [name, pipe] of Object.entries(pipes)) {
    checkPipe(name, pipe);
    checkStream(`The source '${pipe.stream}' of pipe '${name}'`, pipe.stream);
    checkQueue(`The target '${pipe.queue}' of pipe '${name}'`, pipe.queue);
    if (pipe.deadLetterQueue !== undefined) {
      checkQueue(`The dead-letter queue '${pipe.deadLetterQueue}' of pipe '${name}'`, pipe.deadLetterQueue);
    }
  }
  for (const route of routes) {
    if ('queue' in route) checkQueue(`Route ${route.method} ${route.path}: '${route.queue}'`, route.queue);
  }

  function checkQueue(says: string, name: string): void {
    if (name in queues) return;
    throw new Error(`${says} is none of the queues (${Object.keys(queues).join(', ')}).`);
  }
  function checkStream(says: string, name: string): void {
    const table = tables.find((one) => nameOf(one) === name);
    if (typeof table === 'object' && table.stream !== undefined) return;
    throw new Error(
      `${says} is no table with a stream: describe it as { name: '${name}', stream: 'NEW_IMAGE' }.`,
    );
  }
}

const nameOf = (table: string | TableDescription): string => (typeof table === 'string' ? table : table.name);

function named<Thing>(things: ReadonlyMap<string, Thing>, kind: string, name: string): Thing {
  const found = things.get(name);
  if (found === undefined) throw new RangeError(`There is no ${kind} '${name}' in this stack.`);
  return found;
}

/** Fails only after every part has started or failed, so that those that started can be stopped. */
async function allStarted<Parts extends readonly unknown[]>(
  parts: {
    [Index in keyof Parts]: Promise<Parts[Index]>;
  },
): Promise<Parts> {
  await Promise.allSettled(parts);
  return Promise.all(parts) as unknown as Promise<Parts>;
}

/** Ends the last one first. One that fails does not keep the others from ending. */
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
