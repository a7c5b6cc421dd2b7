/** The model and a real DynamoDB, asked the same. */

import { randomUUID } from 'node:crypto';
import {
  type AttributeValue,
  CreateTableCommand,
  DeleteItemCommand,
  type DynamoDBClient,
  GetItemCommand,
  PutItemCommand,
  paginateQuery,
  QueryCommand,
  TransactWriteItemsCommand,
  UpdateItemCommand,
} from '@aws-sdk/client-dynamodb';
import { createDynamoModel, type Item } from '../dynamodb-model/index.ts';
import type { Loose } from '../dynamodb-model/loose.ts';
import { randomFrom } from './random.ts';
import { type Names, partitionsOf, type Request, requestsOf } from './requests.ts';

const commands: Readonly<Record<string, new (input: never) => object>> = {
  ...{ PutItem: PutItemCommand, UpdateItem: UpdateItemCommand, DeleteItem: DeleteItemCommand },
  ...{ GetItem: GetItemCommand, Query: QueryCommand, TransactWriteItems: TransactWriteItemsCommand },
};

/** What counts of an answer: its fields, or the error's name, what it met and why. */
type Answer = Loose;

export interface Difference {
  readonly course: string;
  readonly request: Request | 'the tables at the end';
  readonly model: Answer;
  readonly dynamodb: Answer;
  /** What the model held before. */
  readonly before: readonly Item[];
}

export interface Comparison {
  readonly requests: number;
  /** How often each answer came: a comparison of refusals alone would say little. */
  readonly answers: Readonly<Record<string, number>>;
  readonly differences: readonly Difference[];
}

/** Creates the two tables that requests go to. */
export async function createTables(client: DynamoDBClient, prefix: string): Promise<Names> {
  const names = { texts: `${prefix}-texts`, numbers: `${prefix}-numbers`, run: randomUUID().slice(0, 8) };
  for (const [TableName, type] of [
    [names.texts, 'S'],
    [names.numbers, 'N'],
  ] as const) {
    const isTexts = TableName === names.texts;
    await client.send(
      new CreateTableCommand({
        TableName,
        BillingMode: 'PAY_PER_REQUEST',
        KeySchema: [
          { AttributeName: 'pk', KeyType: 'HASH' },
          { AttributeName: 'sk', KeyType: 'RANGE' },
        ],
        AttributeDefinitions: [
          { AttributeName: 'pk', AttributeType: 'S' },
          { AttributeName: 'sk', AttributeType: type },
          ...(isTexts ? [{ AttributeName: 'owner', AttributeType: 'S' as const }] : []),
        ],
        ...(isTexts && {
          GlobalSecondaryIndexes: [
            {
              IndexName: 'byOwner',
              KeySchema: [{ AttributeName: 'owner', KeyType: 'HASH' as const }],
              Projection: { ProjectionType: 'ALL' as const },
            },
          ],
        }),
      }),
    );
  }
  return names;
}

const requestsOfCourse = 25;

/**
 * Sends one course of requests to both, one after the other.
 *
 * @param seed decides every request
 */
export function compareCourse(client: DynamoDBClient, names: Names, seed: number): Promise<Comparison> {
  const course = `course-${seed}`;
  const requests = requestsOf(randomFrom(seed), names, course, requestsOfCourse);
  return compareRequests(client, names, course, requests);
}

/** @param course what the partition keys of the requests begin with */
export async function compareRequests(
  client: DynamoDBClient,
  names: Names,
  course: string,
  requests: readonly Request[],
): Promise<Comparison> {
  const model = createDynamoModel({
    tables: [
      {
        name: names.texts,
        partitionKey: 'pk',
        sortKey: 'sk',
        indexes: [{ name: 'byOwner', partitionKey: 'owner' }],
      },
      { name: names.numbers, partitionKey: 'pk', sortKey: 'sk', keyTypes: { sk: 'N' } },
    ],
    nowMs: Date.now,
  });
  const dump = (): Item[] => [...model.dump(names.texts), ...model.dump(names.numbers)];
  const answers: Record<string, number> = {};
  const differences: Difference[] = [];
  for (const request of requests) {
    const before = dump();
    const { ok, error } = model.apply(request.name, request.input);
    const ours = ok ? answerOf(ok) : failureOf(error);
    const theirs = await ask(client, request);
    const label = `${request.name} ${theirs.name ?? 'ok'}`;
    answers[label] = (answers[label] ?? 0) + 1;
    if (textOf(ours) !== textOf(theirs) && !isKnownDifference(ours, theirs)) {
      differences.push({
        course,
        request,
        model: error ? { ...ours, message: error.message } : ours,
        dynamodb: theirs,
        before,
      });
      // From here on they may differ for this reason alone.
      break;
    }
  }
  if (differences.length === 0) {
    const partitions = new Set([...partitionsOf(course), ...dump().map(({ pk }) => (pk as { S: string }).S)]);
    const [ours, theirs] = [{ items: dump() }, { items: await dumpOf(client, names, partitions) }];
    if (textOf(ours) !== textOf(theirs)) {
      differences.push({
        course,
        request: 'the tables at the end',
        model: ours,
        dynamodb: theirs,
        before: [],
      });
    }
  }
  return { requests: requests.length, answers, differences };
}

/**
 * Where DynamoDB Local is known to answer otherwise than AWS, both refuse and write nothing. The model answers as AWS does.
 */
function isKnownDifference(ours: Answer, theirs: Answer): boolean {
  const [name, localName] = [ours.name, theirs.name];
  const isRefused = ({ CancellationReasons }: Answer): boolean =>
    CancellationReasons?.some(({ Code }: Answer) => Code === 'ValidationError') === true;
  // AWS cancels a transaction for what an item does not allow; Local refuses the request.
  // @see https://github.com/aws/aws-sdk-net/issues/1292
  if (isRefused(ours) && localName === 'ValidationException') return true;
  // AWS refuses malformed keys before the transaction begins; Local cancels.
  // @see https://github.com/paritysuite/dynamodb-conformance/issues/45
  if (name === 'ValidationException' && isRefused(theirs)) return true;
  // AWS gives a reason for each item, in their order; Local gives a single one for an update of a key.
  // @see https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_TransactWriteItems.html
  if (isRefused(ours) && isRefused(theirs) && theirs.CancellationReasons.length === 1) return true;
  // AWS refuses two operations on one item by themselves; Local does only where no condition fails.
  // @see https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_TransactWriteItems.html
  if (/multiple operations on one item/.test(ours.message) && theirs.CancellationReasons) return true;
  // A start at the very end of what is left: Local refuses it, and nothing is there anyway.
  if (/does not match the range key/.test(theirs.message) && ours.ScannedCount === 0) return true;
  // AWS may give a key to go on from where nothing follows; Local knows that nothing does.
  // @see https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Query.Pagination.html
  const { LastEvaluatedKey, ...page } = ours;
  return LastEvaluatedKey !== undefined && !theirs.LastEvaluatedKey && textOf(page) === textOf(theirs);
}

async function ask(client: DynamoDBClient, { name, input }: Request): Promise<Answer> {
  const Command = commands[name] as unknown as new (input: Loose) => never;
  return client.send(new Command(input)).then(answerOf, failureOf);
}

const answerOf = (output: object): Answer => {
  // DynamoDB Local tells of capacity where it was not asked.
  const { $metadata: _, ConsumedCapacity: __, ...answer } = output as Answer;
  return Object.fromEntries(Object.entries(answer).filter(([, value]) => value !== undefined));
};

/** Without messages, but those that tell apart what has the same name are in the difference. */
function failureOf(error: unknown): Answer {
  const { name, message, Item, CancellationReasons } = error as Answer;
  return {
    ...{ name, message, ...(Item && { Item }) },
    ...(CancellationReasons && {
      CancellationReasons: CancellationReasons.map(({ Code, Item: met }: Answer) => ({
        Code,
        ...(met && { Item: met }),
      })),
    }),
  };
}

async function dumpOf(
  client: DynamoDBClient,
  { texts, numbers }: Names,
  partitions: ReadonlySet<string>,
): Promise<Item[]> {
  const items: Record<string, AttributeValue>[] = [];
  for (const TableName of [texts, numbers]) {
    for (const pk of partitions) {
      const pages = paginateQuery(
        { client },
        {
          ...{ TableName, ConsistentRead: true, KeyConditionExpression: 'pk = :pk' },
          ExpressionAttributeValues: { ':pk': { S: pk } },
        },
      );
      for await (const { Items = [] } of pages) items.push(...Items);
    }
  }
  return items as Item[];
}

/**
 * DynamoDB Local writes a number within a map, a list or a set as it was given (`3.0`, `+5`) or as Java does (`1E+1`); only
 * a number that is an attribute itself is always written plainly. So the digits count, and where the point is.
 */
function sameNumber(text: string): string {
  const [, sign, whole = '', fraction = '', exponent = '0'] =
    /^([+-]?)0*(\d*)\.?(\d*)(?:[eE]([+-]?\d+))?$/.exec(text) ?? [];
  const digits = (whole + fraction).replace(/^0+/, '').replace(/0+$/, '');
  if (digits === '') return '0';
  const zeros = (whole + fraction).length - (whole + fraction).replace(/0+$/, '').length;
  return `${sign === '-' ? '-' : ''}${digits}e${Number(exponent) - fraction.length + zeros}`;
}

/** Equal for what means the same: sets have no order, maps neither, and messages are not compared. */
function textOf({ message: _, ...answer }: Answer): string {
  const ordered = (value: unknown): unknown => {
    if (ArrayBuffer.isView(value)) return Buffer.from(value as Uint8Array).toString('base64');
    if (Array.isArray(value)) return value.map(ordered);
    if (value === null || typeof value !== 'object') return value;
    const setOf = (type: string, members: readonly unknown[]): unknown[] =>
      members.map((one) => (type === 'NS' ? sameNumber(String(one)) : ordered(one))).sort();
    const entries = Object.entries(value).map(([name, one]) => {
      const isSet = ['SS', 'NS', 'BS'].includes(name) && Array.isArray(one);
      if (name === 'N' && typeof one === 'string') return [name, sameNumber(one)] as const;
      return [name, isSet ? setOf(name, one) : ordered(one)] as const;
    });
    return Object.fromEntries(entries.sort(([one], [other]) => (one < other ? -1 : 1)));
  };
  const { items, ...rest } = answer;
  const inTable = items?.map((item: Item) => JSON.stringify(ordered(item))).sort();
  return JSON.stringify(ordered({ ...rest, ...(inTable && { inTable }) }));
}
