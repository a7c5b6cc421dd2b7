import {
  CreateTableCommand,
  DeleteTableCommand,
  DynamoDBClient,
  UpdateTimeToLiveCommand,
  waitUntilTableExists,
} from '@aws-sdk/client-dynamodb';
import { tableLayout } from '../lib/record.ts';
import { type Route, startApi } from './api.ts';
import { startDynamoDb } from './dynamodb.ts';
import { type FaultProxy, startFaultProxy } from './fault-proxy.ts';
import { createFunction, type FunctionDescription, type LocalFunction, type LogLine } from './lambda.ts';

/** A stack, in plain data: what there is and who calls whom. */
export interface StackDescription {
  /** Names of tables for records, with the keys and the TTL that records need. */
  readonly tables?: readonly string[];
  readonly functions?: Readonly<Record<string, FunctionDescription>>;
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
  /** A client that goes straight to DynamoDB. */
  readonly dynamodb: DynamoDBClient;
  /** Every line that the functions have logged. Live; a line is here before the answer that followed it. */
  readonly logs: readonly LogLine[];
  /** @throws RangeError when the description has none of that name */
  function(name: string): LocalFunction;
  /** Ends everything that was started, and waits for it. May be called twice. */
  stop(): Promise<void>;
}

/**
 * Starts a stack on this machine: tables in a real DynamoDB, functions in processes of their own, routes on an HTTP
 * server. When a part cannot be started, those that were are stopped again.
 *
 * @throws Error with what is wrong with the description, or what is missing on this machine and how to get it
 */
export async function startStack(description: StackDescription, options: StackOptions = {}): Promise<Stack> {
  const { tables = [], functions: described = {}, routes = [] } = description;
  const given = options.dynamodbEndpoint ?? (process.env.DYNAMODB_ENDPOINT || undefined);
  const endings: (() => unknown)[] = [];
  let stopping: Promise<void> | undefined;
  const stop = (): Promise<void> => {
    stopping ??= endAll(endings);
    return stopping;
  };

  try {
    for (const route of routes) {
      if (route.function in described) continue;
      throw new Error(
        `Route ${route.method} ${route.path} calls '${route.function}', which is none of the functions (${Object.keys(described).join(', ')}).`,
      );
    }

    const server = await startDynamoDb(given === undefined ? {} : { endpoint: given });
    endings.push(() => server.stop());
    const dynamodb = new DynamoDBClient({
      endpoint: server.endpoint,
      region: 'eu-west-1',
      credentials: { accessKeyId: 'local', secretAccessKey: 'local' },
    });
    endings.push(() => dynamodb.destroy());
    const faults = await startFaultProxy(server.endpoint);
    endings.push(() => faults.stop());
    await Promise.all(
      tables.map(async (table) => {
        await createTable(dynamodb, table);
        // One that we started takes its tables with it.
        if (given !== undefined) {
          endings.push(() => dynamodb.send(new DeleteTableCommand({ TableName: table })));
        }
      }),
    );

    const logs: LogLine[] = [];
    const onLog = (line: LogLine): void => {
      logs.push(line);
      options.onLog?.(line);
    };
    const functions = new Map<string, LocalFunction>();
    for (const [name, { environment, ...rest }] of Object.entries(described)) {
      // The SDK reads this one by itself, so that a function needs no code for being here.
      const withDynamoDb = { AWS_ENDPOINT_URL_DYNAMODB: faults.endpoint, ...environment };
      const created = createFunction(name, { ...rest, environment: withDynamoDb }, onLog);
      functions.set(name, created);
      endings.push(() => created.stop());
    }
    const functionNamed = (name: string): LocalFunction => {
      const found = functions.get(name);
      if (found === undefined) throw new RangeError(`There is no function '${name}' in this stack.`);
      return found;
    };

    const api = await startApi(routes, (name, event) => functionNamed(name).invoke(event));
    endings.push(() => api.stop());
    return { url: api.url, faults, dynamodb, logs, function: functionNamed, stop };
  } catch (error) {
    await stop().catch(() => {});
    throw error;
  }
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

async function createTable(client: DynamoDBClient, TableName: string): Promise<void> {
  const { partitionKey, sortKey, ttlAttribute } = tableLayout;
  await client.send(
    new CreateTableCommand({
      TableName,
      BillingMode: 'PAY_PER_REQUEST',
      KeySchema: [
        { AttributeName: partitionKey, KeyType: 'HASH' },
        { AttributeName: sortKey, KeyType: 'RANGE' },
      ],
      AttributeDefinitions: [
        { AttributeName: partitionKey, AttributeType: 'S' },
        { AttributeName: sortKey, AttributeType: 'S' },
      ],
    }),
  );
  await waitUntilTableExists({ client, maxWaitTime: 60, minDelay: 1 }, { TableName });
  await client.send(
    new UpdateTimeToLiveCommand({
      TableName,
      TimeToLiveSpecification: { AttributeName: ttlAttribute, Enabled: true },
    }),
  );
}
