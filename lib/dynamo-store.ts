import { randomUUID } from 'node:crypto';
import {
  type AttributeValue,
  DeleteItemCommand,
  DescribeTableCommand,
  DescribeTimeToLiveCommand,
  DynamoDBClient,
  GetItemCommand,
  PutItemCommand,
  type PutItemCommandInput,
  QueryCommand,
  type TableDescription,
  type TimeToLiveDescription,
  UpdateItemCommand,
} from '@aws-sdk/client-dynamodb';
import { IdempotencyError, show, storeUnavailable } from './errors.ts';
import {
  attribute,
  type ClaimStatus,
  chunkSortKey,
  chunkSortKeyPrefix,
  claimSortKey,
  cleanupAtSeconds,
  environment,
  tableLayout,
} from './record.ts';
import {
  type ClaimRecord,
  type Clock,
  type Seal,
  type Store,
  type StoredAnswer,
  systemClock,
  type UnavailableReason,
  type Written,
} from './store.ts';
import { check, checkKnown, isFunction, isRecord } from './validate.ts';

/** What the store needs of a client: a `DynamoDBClient` or a `DynamoDBDocumentClient`, of any version 3. */
export interface DynamoClient {
  send(command: any): Promise<any>;
}

export interface DynamoStoreOptions {
  /** @default `IDEMPOTENCY_TABLE` */
  readonly tableName?: string;
  /**
   * A native or a document client.
   *
   * @default a client of its own with short timeouts (connect 1 s, request 2 s), for a hung connection must not eat the
   * invocation
   */
  readonly client?: DynamoClient;
  /** Name of the partition key, a string. @default 'pk' */
  readonly partitionKey?: string;
  /** Name of the sort key, a string. @default 'sk' */
  readonly sortKey?: string;
  /** Name of the attribute that the table's TTL reads. @default 'expiresAt' */
  readonly ttlAttribute?: string;
  /** Encrypts answers (and inputs that are kept) before they are stored. @default none: the table's own encryption */
  readonly seal?: Seal;
  /** Time, for tests of expiry and skew. @default the system's */
  readonly clock?: Clock;
}

export interface DynamoStore extends Store {
  /**
   * Looks whether the table is there, has the right keys and expires its items, for a deployment test or a start-up
   * check. Needs `dynamodb:DescribeTable` and `dynamodb:DescribeTimeToLive`, which guards do not.
   *
   * @throws `STORE_MISCONFIGURED` with what is wrong and the fix, `STORE_UNAVAILABLE`
   */
  checkTable(): Promise<void>;
}

/** An answer up to this size lies in the claim item; a failed conditional write is priced by the item it meets. */
const inlineBytes = 4_096;
/** An item may have 400 KB, names and keys included. */
const chunkBytes = 380_000;
const maxConflicts = 6;
const conflictPauseMs = 50;
/** 1,000 write units are what one partition takes in a second. */
const maxAnswerBytes = 1_000_000;

/**
 * A store on a DynamoDB table: string keys `pk` and `sk`, TTL on `expiresAt`, on-demand. Every write is conditional, so
 * a table replicated by last-writer-wins to a second Region does not protect across Regions.
 *
 * @throws `BAD_OPTION`
 */
export function dynamoStore(options: DynamoStoreOptions = {}): DynamoStore {
  checkKnown('', options, optionNames);
  const tableName = options.tableName ?? process.env[environment.table];
  if (typeof tableName !== 'string' || tableName === '') {
    throw new IdempotencyError(
      'BAD_OPTION',
      `Expected a table's name in the environment variable ${environment.table} or in dynamoStore({ tableName }), got ${show(tableName)}. Set one of them; in unit tests pass { store: memoryStore() } or set ${environment.disabled}=true.`,
    );
  }
  check(
    'client',
    options.client,
    'a DynamoDBClient or a DynamoDBDocumentClient',
    (value) => isRecord(value) && isFunction(value.send),
  );
  for (const name of ['partitionKey', 'sortKey', 'ttlAttribute'] as const) {
    check(name, options[name], "an attribute's name", (value) => typeof value === 'string' && value !== '');
  }
  check(
    'seal',
    options.seal,
    'an object with the functions seal and open',
    (value) => isRecord(value) && isFunction(value.seal) && isFunction(value.open),
  );
  const client: DynamoClient = options.client ?? defaultClient();
  const names = {
    pk: options.partitionKey ?? tableLayout.partitionKey,
    sk: options.sortKey ?? tableLayout.sortKey,
    ttl: options.ttlAttribute ?? tableLayout.ttlAttribute,
  };
  const send = <T>(command: object, action: string): Promise<T> =>
    client.send(command).catch((error: unknown) => {
      throw explain(error, tableName, names, action);
    });

  /** A write of which the condition may fail: the item that it met is the answer then, not an error. */
  const write = async (command: object, action: string): Promise<Written> => {
    for (let tries = 1; ; tries++) {
      try {
        await client.send(command);
        return { applied: true };
      } catch (error) {
        if (isNamed(error, 'ConditionalCheckFailedException')) {
          const item = (error as { Item?: Item }).Item;
          return { applied: false, found: item && readClaim(item, names) };
        }
        // The SDK repeats throttled and broken requests, but not one that met a transaction on the same item.
        if (!isNamed(error, 'TransactionConflictException') || tries === maxConflicts) {
          throw explain(error, tableName, names, action);
        }
        await systemClock.sleep(conflictPauseMs * tries * Math.random());
      }
    }
  };
  const keyOf = (pk: string, sk: string): Item => ({ [names.pk]: { S: pk }, [names.sk]: { S: sk } });
  const conditional = {
    TableName: tableName,
    ReturnValuesOnConditionCheckFailure: 'ALL_OLD',
  } as const;
  const mine = {
    ConditionExpression: '#owner = :owner AND #status = :inProgress',
    ExpressionAttributeNames: { '#owner': attribute.owner, '#status': attribute.status },
  } as const;

  return {
    id: `dynamodb:${tableName}`,
    maxAnswerBytes,
    ...(options.seal && { seal: options.seal }),
    ...(options.clock && { clock: options.clock }),

    claim: (claim) =>
      write(
        new PutItemCommand({
          ...conditional,
          Item: {
            ...keyOf(claim.pk, claimSortKey),
            [attribute.status]: { S: 'IN_PROGRESS' satisfies ClaimStatus },
            [attribute.owner]: { S: claim.owner },
            [attribute.window]: { S: claim.owner },
            [attribute.attempt]: { N: '1' },
            [attribute.leaseUntil]: { N: String(claim.leaseUntilMs) },
            [attribute.endsAt]: { N: String(claim.endsAtMs) },
            [attribute.createdAt]: { N: String(claim.nowMs) },
            [names.ttl]: { N: String(cleanupAtSeconds(claim.endsAtMs)) },
            ...(claim.fingerprint !== undefined && { [attribute.fingerprint]: { S: claim.fingerprint } }),
            ...(claim.rawKey !== undefined && { [attribute.key]: { S: claim.rawKey } }),
            ...(claim.rawInput !== undefined && { [attribute.input]: { B: claim.rawInput } }),
          },
          ConditionExpression:
            'attribute_not_exists(#pk) OR (#endsAt <= :now AND (#status = :completed OR #leaseUntil <= :now))',
          ExpressionAttributeNames: {
            '#pk': names.pk,
            '#endsAt': attribute.endsAt,
            '#status': attribute.status,
            '#leaseUntil': attribute.leaseUntil,
          },
          ExpressionAttributeValues: {
            ':now': { N: String(claim.nowMs) },
            ':completed': { S: 'COMPLETED' satisfies ClaimStatus },
          },
        }),
        'dynamodb:PutItem',
      ),

    takeOver: ({ pk, owner, previousOwner, attempt, leaseUntilMs }) =>
      write(
        new UpdateItemCommand({
          ...conditional,
          ...mine,
          Key: keyOf(pk, claimSortKey),
          UpdateExpression: 'SET #owner = :newOwner, #leaseUntil = :leaseUntil, #attempt = :attempt',
          ExpressionAttributeNames: {
            ...mine.ExpressionAttributeNames,
            '#leaseUntil': attribute.leaseUntil,
            '#attempt': attribute.attempt,
          },
          ExpressionAttributeValues: {
            ...ownedBy(previousOwner),
            ':newOwner': { S: owner },
            ':leaseUntil': { N: String(leaseUntilMs) },
            ':attempt': { N: String(attempt) },
          },
        }),
        'dynamodb:UpdateItem',
      ),

    async complete({ pk, owner, window, completedAtMs, endsAtMs, answer }) {
      const expiresAt: AttributeValue = { N: String(cleanupAtSeconds(endsAtMs)) };
      const stored = await storeAnswer(answer, async (writeId, index, data) => {
        const Item = { ...keyOf(pk, chunkSortKey(window, writeId, index)), [attribute.data]: { B: data } };
        const put: PutItemCommandInput = { TableName: tableName, Item: { ...Item, [names.ttl]: expiresAt } };
        await send(new PutItemCommand(put), 'dynamodb:PutItem');
      });
      return write(
        new UpdateItemCommand({
          ...conditional,
          Key: keyOf(pk, claimSortKey),
          ConditionExpression: mine.ConditionExpression,
          UpdateExpression: `SET #status = :completed, #completedAt = :completedAt, #endsAt = :endsAt, #ttl = :ttl, ${stored.expression}`,
          ExpressionAttributeNames: {
            ...mine.ExpressionAttributeNames,
            '#completedAt': attribute.completedAt,
            '#endsAt': attribute.endsAt,
            '#ttl': names.ttl,
            ...stored.names,
          },
          ExpressionAttributeValues: {
            ...ownedBy(owner),
            ':completed': { S: 'COMPLETED' satisfies ClaimStatus },
            ':completedAt': { N: String(completedAtMs) },
            ':endsAt': { N: String(endsAtMs) },
            ':ttl': expiresAt,
            ...stored.values,
          },
        }),
        'dynamodb:UpdateItem',
      );
    },

    remove: ({ pk, owner }) =>
      write(
        new DeleteItemCommand({
          ...conditional,
          ...mine,
          Key: keyOf(pk, claimSortKey),
          ExpressionAttributeValues: ownedBy(owner),
        }),
        'dynamodb:DeleteItem',
      ),

    endLease: ({ pk, owner }) =>
      write(
        new UpdateItemCommand({
          ...conditional,
          ...mine,
          Key: keyOf(pk, claimSortKey),
          UpdateExpression: 'SET #leaseUntil = :over',
          ExpressionAttributeNames: {
            ...mine.ExpressionAttributeNames,
            '#leaseUntil': attribute.leaseUntil,
          },
          ExpressionAttributeValues: { ...ownedBy(owner), ':over': { N: '0' } },
        }),
        'dynamodb:UpdateItem',
      ),

    async read(pk) {
      const { Item } = await send<{ Item?: Item }>(
        new GetItemCommand({ TableName: tableName, Key: keyOf(pk, claimSortKey), ConsistentRead: true }),
        'dynamodb:GetItem',
      );
      return Item && readClaim(Item, names);
    },

    async readChunks({ pk, window, answer }) {
      if (answer?.kind !== 'chunks') return undefined;
      const chunks: Uint8Array[] = [];
      let ExclusiveStartKey: Item | undefined;
      do {
        const page: { Items?: Item[]; LastEvaluatedKey?: Item } = await send(
          new QueryCommand({
            TableName: tableName,
            ConsistentRead: true,
            KeyConditionExpression: '#pk = :pk AND begins_with(#sk, :prefix)',
            ExpressionAttributeNames: { '#pk': names.pk, '#sk': names.sk },
            ExpressionAttributeValues: {
              ':pk': { S: pk },
              ':prefix': { S: chunkSortKeyPrefix(window, answer.writeId) },
            },
            ExclusiveStartKey,
          }),
          'dynamodb:Query',
        );
        for (const item of page.Items ?? []) chunks.push(item[attribute.data]?.B ?? new Uint8Array());
        ExclusiveStartKey = page.LastEvaluatedKey;
      } while (ExclusiveStartKey);
      return chunks.length === answer.count ? Buffer.concat(chunks) : undefined;
    },

    async checkTable() {
      const { Table } = await send<{ Table?: TableDescription }>(
        new DescribeTableCommand({ TableName: tableName }),
        'dynamodb:DescribeTable',
      );
      const isTextKey = (name: string, keyType: string): boolean =>
        Table?.KeySchema?.some((key) => key.AttributeName === name && key.KeyType === keyType) === true &&
        Table.AttributeDefinitions?.some((one) => one.AttributeName === name && one.AttributeType === 'S') ===
          true;
      if (!isTextKey(names.pk, 'HASH') || !isTextKey(names.sk, 'RANGE')) {
        throw misconfigured(wrongKeys(tableName, names));
      }
      const { TimeToLiveDescription: ttl } = await send<{
        TimeToLiveDescription?: TimeToLiveDescription;
      }>(new DescribeTimeToLiveCommand({ TableName: tableName }), 'dynamodb:DescribeTimeToLive');
      const isOn = ttl?.TimeToLiveStatus === 'ENABLED' || ttl?.TimeToLiveStatus === 'ENABLING';
      if (isOn && ttl.AttributeName === names.ttl) return;
      throw misconfigured(
        `Table '${tableName}' ${isOn ? `expires items by '${ttl.AttributeName}'` : 'has no TTL'}, so its records would stay for ever. Enable TTL on '${names.ttl}': aws dynamodb update-time-to-live --table-name ${tableName} --time-to-live-specification Enabled=true,AttributeName=${names.ttl}`,
      );
    },
  };
}

const optionNames: readonly (keyof DynamoStoreOptions)[] = [
  'tableName',
  'client',
  'partitionKey',
  'sortKey',
  'ttlAttribute',
  'seal',
  'clock',
];

type Item = Record<string, AttributeValue>;

interface Names {
  readonly pk: string;
  readonly sk: string;
  readonly ttl: string;
}

const ownedBy = (owner: string): Item => ({
  ':owner': { S: owner },
  ':inProgress': { S: 'IN_PROGRESS' satisfies ClaimStatus },
});

/** A part of an update expression. */
interface Assignment {
  readonly expression: string;
  readonly names: Readonly<Record<string, string>>;
  readonly values: Item;
}

/** What sets the answer in the claim item. Chunks are written before the item that points at them. */
async function storeAnswer(
  answer: Uint8Array | UnavailableReason,
  putChunk: (writeId: string, index: number, data: Uint8Array) => Promise<void>,
): Promise<Assignment> {
  if (typeof answer === 'string') {
    return {
      expression: '#unavailable = :unavailable',
      names: { '#unavailable': attribute.unavailable },
      values: { ':unavailable': { S: answer } },
    };
  }
  if (answer.length <= inlineBytes) {
    return {
      expression: '#data = :data',
      names: { '#data': attribute.data },
      values: { ':data': { B: answer } },
    };
  }
  // A new id for every write: a repeat after a lost answer must not mix its chunks with an earlier one's.
  const writeId = randomUUID();
  const puts: Promise<void>[] = [];
  for (let start = 0; start < answer.length; start += chunkBytes) {
    puts.push(putChunk(writeId, puts.length, answer.subarray(start, start + chunkBytes)));
  }
  await Promise.all(puts);
  return {
    expression: '#writeId = :writeId, #chunks = :chunks',
    names: { '#writeId': attribute.writeId, '#chunks': attribute.chunks },
    values: { ':writeId': { S: writeId }, ':chunks': { N: String(puts.length) } },
  };
}

function readClaim(item: Item, names: Names): ClaimRecord {
  const number = (name: string): number => Number(item[name]?.N);
  const status = item[attribute.status]?.S === 'COMPLETED' ? 'COMPLETED' : 'IN_PROGRESS';
  const fingerprint = item[attribute.fingerprint]?.S;
  return {
    pk: item[names.pk]?.S ?? '',
    status,
    owner: item[attribute.owner]?.S ?? '',
    window: item[attribute.window]?.S ?? '',
    attempt: number(attribute.attempt),
    leaseUntilMs: number(attribute.leaseUntil),
    endsAtMs: number(attribute.endsAt),
    createdAtMs: number(attribute.createdAt),
    ...(fingerprint !== undefined && { fingerprint }),
    ...(status === 'COMPLETED' && {
      completedAtMs: number(attribute.completedAt),
      answer: readAnswer(item),
    }),
  };
}

function readAnswer(item: Item): StoredAnswer {
  const bytes = item[attribute.data]?.B;
  if (bytes) return { kind: 'inline', bytes };
  const writeId = item[attribute.writeId]?.S;
  if (writeId) return { kind: 'chunks', writeId, count: Number(item[attribute.chunks]?.N) };
  return {
    kind: 'unavailable',
    reason: (item[attribute.unavailable]?.S ?? 'unserialisable') as UnavailableReason,
  };
}

function defaultClient(): DynamoClient {
  return new DynamoDBClient({
    // Without throwOnRequestTimeout the SDK only warns of a slow request.
    requestHandler: { connectionTimeout: 1_000, requestTimeout: 2_000, throwOnRequestTimeout: true },
  });
}

const isNamed = (error: unknown, ...names: readonly string[]): boolean =>
  names.includes((error as { name?: string } | null)?.name ?? '');

/** Turns what the SDK threw into what its caller can do about it. */
function explain(error: unknown, tableName: string, names: Names, action: string): IdempotencyError {
  const said = error instanceof Error ? error.message : String(error);
  if (isNamed(error, 'ResourceNotFoundException')) {
    return misconfigured(
      `There is no table '${tableName}' in this account and Region. Create it (keys '${names.pk}' and '${names.sk}', both strings, TTL on '${names.ttl}'), or name the right one in ${environment.table} or dynamoStore({ tableName }).`,
      error,
    );
  }
  if (isNamed(error, 'AccessDeniedException')) {
    return misconfigured(
      `This function may not ${action} on table '${tableName}'. Its role needs dynamodb:PutItem, dynamodb:UpdateItem, dynamodb:DeleteItem, dynamodb:GetItem and dynamodb:Query on it. DynamoDB said: ${said}`,
      error,
    );
  }
  if (isNamed(error, 'ValidationException')) {
    return misconfigured(`${wrongKeys(tableName, names)} DynamoDB said: ${said}`, error);
  }
  if (
    isNamed(error, 'UnrecognizedClientException', 'CredentialsProviderError', 'InvalidSignatureException') ||
    /^Region (is missing|not accepted)/.test(said)
  ) {
    return misconfigured(
      `DynamoDB cannot be called: ${said} Give the function a role, or locally a Region and credentials (AWS_REGION, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY).`,
      error,
    );
  }
  return storeUnavailable(error);
}

const wrongKeys = (tableName: string, names: Names): string =>
  `Table '${tableName}' does not take the records: its partition key must be '${names.pk}' and its sort key '${names.sk}', both strings. If they have other names, say so: dynamoStore({ partitionKey, sortKey }).`;

const misconfigured = (message: string, cause?: unknown): IdempotencyError =>
  new IdempotencyError('STORE_MISCONFIGURED', message, { cause });
