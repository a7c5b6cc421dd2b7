/** The core of the model: requests in, outputs or failures out, one after the other. */

import { type Failure, invalid, type Reason, Refusal } from '../../../lib/testing/dynamodb/errors.ts';
import {
  judge,
  oneOf,
  parametersOf,
  placeholdersOf,
  type Request,
  readDelete,
  readEntry,
  readPut,
  readUpdateRequest,
  reasonOf,
  refuseUnknown,
  sharedParameters,
  type Write as WriteOn,
} from '../../../lib/testing/dynamodb/requests.ts';
import { keyIn, readKey, type TableDescription, textOfKey } from '../../../lib/testing/dynamodb/tables.ts';
import type { Path } from '../../../lib/testing/dynamodb/tokens.ts';
import { copyItem, type Item, sizeOfItem, textOfItem } from '../../../lib/testing/dynamodb/values.ts';
import type { Loose } from './loose.ts';
import { project, readProjection } from './projection.ts';
import { type ItemVersion, queryItems } from './query.ts';

export interface DynamoModelOptions {
  readonly tables: readonly TableDescription[];
  /** Epoch milliseconds, asked when a request is applied. */
  readonly nowMs: () => number;
  /**
   * How many writes of an item a read does not see yet. Asked for each item of an eventually consistent read or of an index.
   *
   * @default 0: every read sees all
   */
  readonly versionsBehind?: (read: EventualRead) => number;
  /** Told of every write that changed an item, in their order: what a stream of new and old images would have. */
  readonly onChange?: (change: Change) => void;
}

export interface EventualRead {
  readonly tableName: string;
  readonly indexName?: string;
  readonly key: Item;
}

export interface Change {
  readonly tableName: string;
  readonly key: Item;
  readonly before: Item | undefined;
  readonly after: Item | undefined;
  /** Whether TTL removed it. */
  readonly byTtl: boolean;
}

export type Applied =
  | { readonly ok: Loose; readonly error?: undefined }
  | { readonly ok?: undefined; readonly error: Failure };

export type Prepared =
  /** The items are locked until `finish(prepared)` or `abandon(prepared)`. */
  | { readonly prepared: number; readonly ok?: undefined; readonly error?: undefined }
  | (Applied & { readonly prepared?: undefined });

export interface DynamoModel {
  /**
   * Applies one request at once and whole, or refuses it and changes nothing. What it gives is the caller's own copy.
   *
   * @param commandName `PutItem`, `UpdateItem`, `DeleteItem`, `GetItem`, `Query` or `TransactWriteItems`
   * @throws Error for a command or a parameter that the model does not know
   */
  apply(commandName: string, input: object): Applied;
  /**
   * The first half of a transaction: its conditions are met and its items locked. Until it ends, other writes to them are
   * conflicts, and the same `ClientRequestToken` meets `TransactionInProgressException`; reads see what was there before.
   */
  prepare(transaction: object): Prepared;
  /** The second half: writes what was prepared. */
  finish(prepared: number): Applied;
  /** Ends what was prepared as a conflict: nothing is written. */
  abandon(prepared: number): Applied;
  /** Deletes one item as TTL does, if its time is over. Nothing expires by itself. Tells whether it was deleted. */
  expire(tableName: string, key: Item): boolean;
  /** Keys of the items that TTL may delete now. */
  expirable(tableName: string): Item[];
  /** All items of a table, in the order of their keys. */
  dump(tableName: string): Item[];
  /** One text for one state: equal for models that answer every further request alike, as long as the clock stands. */
  digest(): string;
  /** A model of its own that starts where this one is. */
  fork(overrides?: Partial<Omit<DynamoModelOptions, 'tables'>>): DynamoModel;
}

interface Table {
  readonly description: TableDescription;
  readonly items: Map<string, Item>;
  /** What lay under each key before, the latest first. */
  readonly history: Map<string, readonly (Item | undefined)[]>;
}

type Write = WriteOn<Table>;

interface Done {
  readonly text: string;
  readonly atMs: number;
}

interface Transaction {
  readonly writes: readonly Write[];
  readonly token: string | undefined;
  readonly text: string;
}

interface State {
  readonly tables: Map<string, Table>;
  readonly tokens: Map<string, Done>;
  readonly prepared: Map<number, Transaction>;
  nextTransaction: number;
}

const keptVersions = 16;
const tokenMs = 10 * 60_000;
const maxTransactItems = 100;
const maxTransactBytes = 4 * 1024 * 1024;
const fiveYearsSeconds = 5 * 365 * 86_400;

const conflict = 'Transaction is ongoing for the item';

/** A DynamoDB with these tables, empty, and with no time of its own. It does nothing unless it is asked. */
export function createDynamoModel(options: DynamoModelOptions): DynamoModel {
  const tables = options.tables.map((description): [string, Table] => [
    description.name,
    { description, items: new Map(), history: new Map() },
  ]);
  const state: State = {
    tables: new Map(tables),
    tokens: new Map(),
    prepared: new Map(),
    nextTransaction: 1,
  };
  return modelOf(state, options);
}

function modelOf(state: State, options: Omit<DynamoModelOptions, 'tables'>): DynamoModel {
  const { nowMs, onChange } = options;

  const tableOf = (input: Input): Table => {
    const table = state.tables.get(String(input.TableName));
    if (!table) {
      throw new Refusal({
        name: 'ResourceNotFoundException',
        message: 'Cannot do operations on a non-existent table',
      });
    }
    return table;
  };

  const isLocked = ({ table, keyText }: Pick<Write, 'table' | 'keyText'>): boolean =>
    [...state.prepared.values()].some(({ writes }) =>
      writes.some((write) => write.keyText === keyText && write.table === table),
    );

  const write = ({ table, keyText, key, before, after, isCheck }: Write, byTtl = false): void => {
    if (isCheck) return;
    if (after) table.items.set(keyText, after);
    else table.items.delete(keyText);
    const versions = table.history.get(keyText) ?? [];
    table.history.set(keyText, [before, ...versions].slice(0, keptVersions));
    const isChanged = before && after ? textOfItem(before) !== textOfItem(after) : before !== after;
    if (isChanged) onChange?.({ tableName: table.description.name, key, before, after, byTtl });
  };

  const seen = (table: Table, indexName?: string): ItemVersion[] => {
    const keys = new Set([...table.items.keys(), ...table.history.keys()]);
    return [...keys].map((keyText) => ({
      latest: table.items.get(keyText),
      /** As a lagging read sees it. */
      eventual: () => eventual(table, keyText, indexName),
    }));
  };

  const eventual = (table: Table, keyText: string, indexName?: string): Item | undefined => {
    const latest = table.items.get(keyText);
    const versions = table.history.get(keyText) ?? [];
    const known = latest ?? versions.find((version) => version !== undefined);
    if (!options.versionsBehind || !known) return latest;
    const tableName = table.description.name;
    const key = keyIn(table.description, known);
    const behind = options.versionsBehind({ tableName, key, ...(indexName !== undefined && { indexName }) });
    return behind <= 0 ? latest : versions[Math.min(behind, versions.length) - 1];
  };

  const single = (request: Request<Table>): Write => {
    const keyText = textOfKey(request.table.description, request.key);
    if (isLocked({ table: request.table, keyText })) {
      throw new Refusal({ name: 'TransactionConflictException', message: conflict });
    }
    const judged = judge(request);
    write(judged);
    return judged;
  };

  const put = (input: Input): Loose => {
    know(input, 'PutItem');
    returnsOf(input, ['NONE', 'ALL_OLD']);
    const request = readPut(tableOf(input), input);
    const { before } = single(request);
    return input.ReturnValues === 'ALL_OLD' && before ? { Attributes: copyItem(before) } : {};
  };

  const remove = (input: Input): Loose => {
    know(input, 'DeleteItem');
    returnsOf(input, ['NONE', 'ALL_OLD']);
    const { before } = single(readDelete(tableOf(input), input));
    return input.ReturnValues === 'ALL_OLD' && before ? { Attributes: copyItem(before) } : {};
  };

  const update = (input: Input): Loose => {
    know(input, 'UpdateItem');
    returnsOf(input, ['NONE', 'ALL_OLD', 'UPDATED_OLD', 'ALL_NEW', 'UPDATED_NEW']);
    const request = readUpdateRequest(tableOf(input), input);
    const { before, after } = single(request);
    const paths = request.action.update.map(({ path }) => path);
    const attributes = returned(input.ReturnValues, before, after, paths);
    return attributes && Object.keys(attributes).length > 0 ? { Attributes: copyItem(attributes) } : {};
  };

  const get = (input: Input): Loose => {
    know(input, 'GetItem');
    const table = tableOf(input);
    const placeholders = placeholdersOf(input, [input.ProjectionExpression]);
    const paths =
      input.ProjectionExpression === undefined
        ? undefined
        : readProjection(input.ProjectionExpression, placeholders);
    placeholders.refuseUnused();
    const keyText = textOfKey(table.description, readKey(table.description, input.Key));
    const item = input.ConsistentRead === true ? table.items.get(keyText) : eventual(table, keyText);
    if (!item) return {};
    return { Item: copyItem(paths ? project(item, paths) : item) };
  };

  const query = (input: Input): Loose => {
    know(input, 'Query');
    const table = tableOf(input);
    const placeholders = placeholdersOf(input, [
      input.KeyConditionExpression,
      input.FilterExpression,
      input.ProjectionExpression,
    ]);
    return queryItems(table.description, input, placeholders, seen(table, input.IndexName));
  };

  const transaction = (input: Input): Prepared => {
    know(input, 'TransactWriteItems');
    const entries = input.TransactItems as readonly Record<string, Input | undefined>[] | undefined;
    if (!entries || entries.length === 0) throw invalid('Member must have length greater than or equal to 1');
    if (entries.length > maxTransactItems) throw invalid('Member must have length less than or equal to 100');
    const token = input.ClientRequestToken as string | undefined;
    if (token !== undefined && (token.length < 1 || token.length > 36)) {
      throw invalid('Value at clientRequestToken failed to satisfy constraint');
    }
    const requests = entries.map((entry) => readEntry(entry, tableOf));
    const keyTexts = requests.map(
      ({ table, key }) => `${table.description.name}\n${textOfKey(table.description, key)}`,
    );
    if (new Set(keyTexts).size !== keyTexts.length) {
      throw invalid('Transaction request cannot include multiple operations on one item');
    }
    const bytes = requests.reduce(
      (sum, { action, key }) => sum + sizeOfItem(action.kind === 'put' ? action.item : key),
      0,
    );
    if (bytes > maxTransactBytes) throw invalid('Collection size exceeded the maximum of 4 MB');
    const text = textOfInput(entries);
    if (token !== undefined) {
      const under = [...state.prepared.values()].find((one) => one.token === token);
      const done = state.tokens.get(token);
      const isFresh = done !== undefined && nowMs() - done.atMs < tokenMs;
      const known = under?.text ?? (isFresh ? done.text : undefined);
      if (known !== undefined && known !== text) throw mismatch();
      if (under) {
        throw new Refusal({
          name: 'TransactionInProgressException',
          message: 'The transaction with the given request token is already in progress',
        });
      }
      if (isFresh) return { ok: {} };
    }
    const writes: Write[] = [];
    const reasons = requests.map((request): Reason => {
      const keyText = textOfKey(request.table.description, request.key);
      if (isLocked({ table: request.table, keyText })) {
        return { Code: 'TransactionConflict', Message: conflict };
      }
      try {
        writes.push(judge(request));
        return { Code: 'None' };
      } catch (error) {
        return reasonOf(error);
      }
    });
    if (reasons.some(({ Code }) => Code !== 'None')) throw cancelled(reasons);
    const number = state.nextTransaction++;
    state.prepared.set(number, { writes, token, text });
    return { prepared: number };
  };

  const taken = (number: number): Transaction => {
    const found = state.prepared.get(number);
    if (!found) throw new Error(`No transaction ${number} is prepared.`);
    state.prepared.delete(number);
    return found;
  };

  const finish = (number: number): Applied => {
    const { writes, token, text } = taken(number);
    for (const one of writes) write(one);
    if (token !== undefined) state.tokens.set(token, { text, atMs: nowMs() });
    return { ok: {} };
  };

  const whole = (input: Input): Loose => {
    const begun = transaction(input);
    if (begun.prepared === undefined) return begun.ok ?? {};
    return finish(begun.prepared).ok ?? {};
  };

  const commands: Readonly<Record<string, (input: Input) => Loose>> = {
    PutItem: put,
    UpdateItem: update,
    DeleteItem: remove,
    GetItem: get,
    Query: query,
    TransactWriteItems: whole,
  };

  const isOver = ({ ttlAttribute }: TableDescription, item: Item): boolean => {
    const value = ttlAttribute === undefined ? undefined : item[ttlAttribute];
    if (!value || !('N' in value)) return false;
    const ageSeconds = nowMs() / 1_000 - Number(value.N);
    // @see https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/howitworks-ttl.html
    return ageSeconds >= 0 && ageSeconds < fiveYearsSeconds;
  };

  const named = (tableName: string): Table => {
    const table = state.tables.get(tableName);
    if (!table) throw new Error(`The model has no table '${tableName}'.`);
    return table;
  };

  return {
    apply(commandName, input) {
      const command = Object.hasOwn(commands, commandName) ? commands[commandName] : undefined;
      if (!command) throw new Error(`The model does not know the command ${commandName}.`);
      return outcomeOf(() => ({ ok: command(input as Input) }));
    },

    prepare: (input) => outcomeOf(() => transaction(input as Input)),
    finish,
    abandon(number) {
      const { writes } = taken(number);
      const reasons = writes.map((): Reason => ({ Code: 'TransactionConflict', Message: conflict }));
      return { error: cancelled(reasons).failure };
    },

    expire(tableName, key) {
      const table = named(tableName);
      const keyText = textOfKey(table.description, key);
      const before = table.items.get(keyText);
      if (!before || !isOver(table.description, before) || isLocked({ table, keyText })) return false;
      write(
        { table, keyText, key: keyIn(table.description, before), before, after: undefined, isCheck: false },
        true,
      );
      return true;
    },

    expirable(tableName) {
      const { description, items } = named(tableName);
      const over = [...items.values()].filter((item) => isOver(description, item));
      return over.map((item) => copyItem(keyIn(description, item)));
    },

    dump(tableName) {
      const { items } = named(tableName);
      const inOrder = [...items].sort(([one], [other]) => (one < other ? -1 : 1));
      return inOrder.map(([, item]) => copyItem(item));
    },

    digest: () => digestOf(state, nowMs(), options.versionsBehind !== undefined),

    fork: (overrides) => modelOf(copyState(state), { ...options, ...overrides }),
  };
}

const mismatch = (): Refusal =>
  new Refusal({
    name: 'IdempotentParameterMismatchException',
    message:
      'DynamoDB rejected the request because you retried it with the same token but different parameters',
  });

function outcomeOf<T>(work: () => T): T | { readonly error: Failure } {
  try {
    return work();
  } catch (error) {
    if (error instanceof Refusal) return { error: error.failure };
    throw error;
  }
}

function cancelled(reasons: readonly Reason[]): Refusal {
  const codes = reasons.map(({ Code }) => Code).join(', ');
  return new Refusal({
    name: 'TransactionCanceledException',
    message: `Transaction cancelled, please refer cancellation reasons for specific reasons [${codes}]`,
    CancellationReasons: reasons,
  });
}

function copyState(state: State): State {
  const copies = new Map(
    [...state.tables].map(([name, { description, items, history }]): [string, Table] => [
      name,
      { description, items: new Map(items), history: new Map(history) },
    ]),
  );
  const prepared = [...state.prepared].map(([number, { writes, ...rest }]): [number, Transaction] => [
    number,
    {
      ...rest,
      writes: writes.map((one) => ({ ...one, table: copies.get(one.table.description.name) as Table })),
    },
  ]);
  return {
    tables: copies,
    tokens: new Map(state.tokens),
    prepared: new Map(prepared),
    nextTransaction: state.nextTransaction,
  };
}

function digestOf({ tables, tokens, prepared }: State, nowMs: number, hasHistory: boolean): string {
  const inTables = [...tables.values()].map(({ description, items, history }) => [
    description.name,
    [...items].map(([key, item]) => `${key}\n${textOfItem(item)}`).sort(),
    ...(hasHistory
      ? [[...history].map(([key, all]) => [key, all.map((one) => one && textOfItem(one))]).sort()]
      : []),
  ]);
  const fresh = [...tokens].filter(([, { atMs }]) => nowMs - atMs < tokenMs);
  return JSON.stringify([
    inTables,
    fresh.map(([token, { text, atMs }]) => [token, text, nowMs - atMs]).sort(),
    [...prepared].map(([number, { text, token }]) => [number, text, token]),
  ]);
}

type Input = Readonly<Loose>;

const known: Readonly<Record<string, readonly string[]>> = {
  PutItem: [...parametersOf.Put, 'ReturnValues'],
  UpdateItem: [...parametersOf.Update, 'ReturnValues'],
  DeleteItem: [...parametersOf.Delete, 'ReturnValues'],
  GetItem: [...sharedParameters, 'Key', 'ConsistentRead', 'ProjectionExpression', 'ExpressionAttributeNames'],
  Query: [
    ...sharedParameters,
    'IndexName',
    'KeyConditionExpression',
    'FilterExpression',
    'ProjectionExpression',
    'ExpressionAttributeNames',
    'ExpressionAttributeValues',
    'ConsistentRead',
    'ScanIndexForward',
    'Limit',
    'ExclusiveStartKey',
    'Select',
  ],
  TransactWriteItems: [...sharedParameters, 'TransactItems', 'ClientRequestToken'],
};

const know = (input: Input, command: string): void => refuseUnknown(command, input, known[command] ?? []);
const returnsOf = (input: Input, choices: readonly string[]): void =>
  oneOf('ReturnValues', input.ReturnValues, choices);

function returned(
  wish: string | undefined,
  before: Item | undefined,
  after: Item | undefined,
  paths: readonly Path[],
): Item | undefined {
  switch (wish) {
    case 'ALL_OLD':
      return before;
    case 'ALL_NEW':
      return after;
    case 'UPDATED_OLD':
      return before && project(before, paths);
    case 'UPDATED_NEW':
      return after && project(after, paths);
    default:
      return undefined;
  }
}

/** A token stands for these very parameters: the order of their names counts too, so that a sender resends what it sent. */
const textOfInput = (entries: readonly unknown[]): string =>
  JSON.stringify(entries, (_, value) =>
    ArrayBuffer.isView(value) ? `B${Buffer.from(value as Uint8Array).toString('base64')}` : value,
  );
