/**
 * Writes that are idempotent by nature: creating what may be there already, and changing only the version that was read.
 * No guard, no record: the condition on the item itself decides, and what stopped it is the answer.
 */
import { isDeepStrictEqual } from 'node:util';
import { PutItemCommand, UpdateItemCommand } from '@aws-sdk/client-dynamodb';
import { type Attributes, IdempotencyError, show } from '../errors.ts';
import { whyUnstorable } from '../store/index.ts';
import { uniqueId } from '../unique-id.ts';
import { checkKnown, isFunction, isPlain, isRecord, kindOf } from '../validate.ts';
import type { DynamoClient } from './client.ts';
import { type Sent, sendConditional } from './send.ts';
import { converter } from './values.ts';

/** Plain JavaScript values, as `@aws-sdk/lib-dynamodb` takes and gives them. */
type Values = Attributes;

export interface CreateOnceOptions<Item extends object = Values> {
  readonly tableName: string;
  /** The whole item, its key included. */
  readonly item: Item;
  /** Name of the table's partition key. */
  readonly partitionKey: string & keyof Item;
}

/** `created` by this call, or what was there: then nothing has been written. */
export type Created<Item extends object = Values> =
  | { readonly outcome: 'created'; readonly item: Item }
  | { readonly outcome: 'exists'; readonly item: Item };

export interface UpdateVersionOptions<Item extends object = Values> {
  readonly tableName: string;
  /** The item's key: the partition key, and the sort key where the table has one. */
  readonly key: Partial<Item>;
  /** The version that was read; `undefined` for an item that has none yet. */
  readonly version: string | number | undefined;
  /** Attributes to set, at the top level of the item. */
  readonly set?: Partial<Item>;
  /** Attributes to remove, at the top level of the item. */
  readonly remove?: readonly (string & keyof Item)[];
  /** Name of the attribute that holds the version. @default 'version' */
  readonly versionAttribute?: string;
  /**
   * The version that the item gets. It must never be used twice for one item: it is how a write of one's own is told from
   * another's when its answer was lost.
   *
   * @default a random UUID
   */
  readonly newVersion?: string;
}

/** `updated`, with the item as it is now; or a `conflict`, with the item as it stands, `undefined` where there is none. */
export type Updated<Item extends object = Values> =
  | { readonly outcome: 'updated'; readonly item: Item }
  | { readonly outcome: 'conflict'; readonly item: Item | undefined };

/** An entry of `TransactItems` in `@aws-sdk/lib-dynamodb`'s `TransactWriteCommand`. */
export interface PutEntry {
  Put: Conditional & { Item: Values };
}

/** An entry of `TransactItems` in `@aws-sdk/lib-dynamodb`'s `TransactWriteCommand`. */
export interface UpdateEntry {
  Update: Conditional & { Key: Values; UpdateExpression: string; ExpressionAttributeValues: Values };
}

interface Conditional {
  TableName: string;
  ConditionExpression: string;
  ExpressionAttributeNames: Record<string, string>;
  ReturnValuesOnConditionCheckFailure: 'ALL_OLD';
}

/**
 * Creates an item, or gives the one that has its key: one conditional `PutItem`. Of any number of calls at once, one creates.
 *
 * A put of which the answer was lost is repeated by the SDK and meets its own item: that counts as `created`, if the item is
 * equal to what was to be put. So two callers that put *equal* items could both be told `created`, should the SDK have to repeat
 * one of the requests; something unique in the item (an id, a time) rules that out.
 *
 * `createOnce.write(options)` is the same as an entry of a transaction's `writes`.
 *
 * @param client a `DynamoDBClient` or a `DynamoDBDocumentClient`; values are plain JavaScript for both. `undefined` members are
 * left out, unless the client's own `marshallOptions` say otherwise
 * @throws `BAD_OPTION`; the client's errors as they are
 * @example await createOnce(client, { tableName: 'users', partitionKey: 'email', item: { email, name } })
 */
export const createOnce: {
  <Item extends object>(client: DynamoClient, options: CreateOnceOptions<Item>): Promise<Created<Item>>;
  write<Item extends object>(options: CreateOnceOptions<Item>): PutEntry;
} = /* @__PURE__ */ Object.assign(create, { write: putEntry });

/**
 * Changes an item if it still is at the version that was read, and gives it a new one: one conditional `UpdateItem`. Of any
 * number of calls for one version, one updates; the others get the item as it stands, to decide again.
 *
 * A version is a unique text, not a count: an update of which the answer was lost is repeated by the SDK, meets a later version,
 * and can tell by it whether that is its own. (It cannot where yet another update has come in between: then it is a `conflict`,
 * though it was applied. Where that matters, make it part of a transaction.) A count that is there already is taken as the
 * version that was read, and replaced by such a text.
 *
 * `updateVersion.write(options)` is the same as an entry of a transaction's `writes`.
 *
 * @param client a `DynamoDBClient` or a `DynamoDBDocumentClient`; values are plain JavaScript for both
 * @throws `BAD_OPTION`; the client's errors as they are
 * @example await updateVersion(client, { tableName: 'orders', key: { id }, version: order.version, set: { status: 'paid' } })
 */
export const updateVersion: {
  <Item extends object = Values>(
    client: DynamoClient,
    options: UpdateVersionOptions<NoInfer<Item>>,
  ): Promise<Updated<Item>>;
  write<Item extends object = Values>(options: UpdateVersionOptions<NoInfer<Item>>): UpdateEntry;
} = /* @__PURE__ */ Object.assign(update, { write: updateEntry });

const asSent = (sent: Sent): Sent => sent;

async function create<Item extends object>(
  client: DynamoClient,
  options: CreateOnceOptions<Item>,
): Promise<Created<Item>> {
  checkClient(client);
  const { Put } = putEntry(options);
  const { toStored, fromStored } = await converter(client);
  const stored = asAttributes('item', () => toStored(Put.Item));
  const written = await sendConditional(client, new PutItemCommand({ ...Put, Item: stored }), asSent);
  const mine = fromStored<Item>(stored);
  if (written.outcome === 'applied') return { outcome: 'created', item: mine };
  if ('failure' in written) throw written.failure;
  const found = fromStored<Item>(written.found ?? {});
  const isMine = written.isRepeat && isDeepStrictEqual(withPlainBytes(found), withPlainBytes(mine));
  return { outcome: isMine ? 'created' : 'exists', item: found };
}

async function update<Item extends object>(
  client: DynamoClient,
  options: UpdateVersionOptions<Item>,
): Promise<Updated<Item>> {
  checkClient(client);
  const { Update } = updateEntry(options);
  const { toStored, fromStored } = await converter(client);
  const values = asAttributes('set', () => {
    try {
      return toStored(Update.ExpressionAttributeValues);
    } catch (error) {
      // Under the attributes' own names: those of the expression are not known outside.
      toStored(options.set ?? {});
      throw error;
    }
  });
  const written = await sendConditional(
    client,
    new UpdateItemCommand({
      ...Update,
      Key: asAttributes('key', () => toStored(Update.Key)),
      ExpressionAttributeValues: values,
      ReturnValues: 'ALL_NEW',
    }),
    asSent,
  );
  if (written.outcome === 'applied')
    return { outcome: 'updated', item: fromStored(written.attributes ?? {}) };
  if ('failure' in written) throw written.failure;
  if (written.found === undefined) return { outcome: 'conflict', item: undefined };
  const versionFound = written.found[Update.ExpressionAttributeNames['#version'] ?? ''];
  const isMine = versionFound?.S === values[':newVersion']?.S;
  return { outcome: isMine ? 'updated' : 'conflict', item: fromStored(written.found) };
}

function putEntry<Item extends object>(options: CreateOnceOptions<Item>): PutEntry {
  checkOptions('createOnce', options, ['tableName', 'item', 'partitionKey']);
  const { tableName, item, partitionKey } = options;
  if (!isRecord(item) || Array.isArray(item)) {
    throw bad(`Expected \`item\` to be an object with the attributes of the item, got ${kindOf(item)}.`);
  }
  if (typeof partitionKey !== 'string' || partitionKey === '') {
    throw bad(
      `Expected \`partitionKey\` to be the name of the table's partition key, such as 'pk', got ${show(partitionKey)}.`,
    );
  }
  if (!isKeyValue(item[partitionKey])) {
    throw bad(
      `Expected \`item\` to hold the partition key '${partitionKey}' as a string that is not empty, a number or bytes, got ${kindOf(item[partitionKey])}. Put it into the item, or name the right attribute in \`partitionKey\`.`,
    );
  }
  checkWellFormed('item', [item[partitionKey]]);
  return {
    Put: {
      ...conditional,
      TableName: tableName,
      Item: { ...item },
      ConditionExpression: 'attribute_not_exists(#pk)',
      ExpressionAttributeNames: { '#pk': partitionKey },
    },
  };
}

function updateEntry<Item extends object>(options: UpdateVersionOptions<Item>): UpdateEntry {
  checkOptions('updateVersion', options, [
    'tableName',
    'key',
    'version',
    'set',
    'remove',
    'versionAttribute',
    'newVersion',
  ]);
  const { tableName, key, version, set = {}, remove = [] } = options;
  const { versionAttribute = 'version', newVersion = uniqueId() } = options;
  if (typeof versionAttribute !== 'string' || versionAttribute === '') {
    throw bad(`Expected \`versionAttribute\` to be an attribute's name, got ${show(versionAttribute)}.`);
  }
  const keys = isPlain(key) ? Object.entries(key) : [];
  if (keys.length < 1 || keys.length > 2 || !keys.every(([, value]) => isKeyValue(value))) {
    throw bad(
      `Expected \`key\` to be the item's key, such as { pk: 'order#1', sk: 'order' }: one or two attributes, each a string that is not empty, a number or bytes; got ${kindOf(key)}.`,
    );
  }
  checkWellFormed('key', Object.values(key));
  // A missing property is more likely an oversight than an item that has no version.
  if (!('version' in options) || !isVersion(version)) {
    throw bad(
      `Expected \`version\` to be the version that was read, a string or a number, got ${'version' in options ? kindOf(version) : 'nothing'}. Read the item first and pass its '${versionAttribute}'; pass undefined for an item that has none yet.`,
    );
  }
  if (typeof newVersion !== 'string' || newVersion === '' || newVersion === version) {
    throw bad(
      `Expected \`newVersion\` to be a string that no version of this item has had, got ${newVersion === version ? 'the version that was read' : kindOf(newVersion)}. Leave it out for a random UUID.`,
    );
  }
  if (!isPlain(set)) throw bad(`Expected \`set\` to be an object of attributes, got ${kindOf(set)}.`);
  if (!Array.isArray(remove) || !remove.every((name) => typeof name === 'string' && name !== '')) {
    throw bad(`Expected \`remove\` to be an array of attributes' names, got ${kindOf(remove)}.`);
  }
  const changed = [...Object.keys(set), ...remove];
  if (changed.length === 0) {
    throw bad('updateVersion was given nothing to change. Name attributes in `set` or in `remove`.');
  }
  for (const [at, name] of changed.entries()) {
    if (name === versionAttribute) {
      throw bad(`updateVersion writes ${named(name)} itself. Leave it out of \`set\` and \`remove\`.`);
    }
    if (keys.some(([keyName]) => keyName === name)) {
      throw bad(
        `${named(name)} is part of the key, which no update can change. Leave it out of \`set\` and \`remove\`.`,
      );
    }
    if (changed.indexOf(name) !== at) throw bad(`${named(name)} is to be changed twice. Name it once.`);
    if (name in set && set[name] === undefined) {
      throw bad(`\`set\` has undefined for ${named(name)}. Leave it out, or name it in \`remove\`.`);
    }
  }

  // Placeholders throughout: many everyday names are reserved words.
  const names: Record<string, string> = { '#version': versionAttribute };
  const values: Values = { ':newVersion': newVersion };
  const assignments = ['#version = :newVersion'];
  for (const [index, [name, value]] of Object.entries(set).entries()) {
    names[`#set${index}`] = name;
    values[`:set${index}`] = value;
    assignments.push(`#set${index} = :set${index}`);
  }
  for (const [index, name] of remove.entries()) names[`#remove${index}`] = name;
  let condition = '#version = :version';
  if (version === undefined) {
    // Without the key's part the update would create an item that is not there.
    names['#key'] = keys[0]?.[0] ?? '';
    condition = 'attribute_exists(#key) AND attribute_not_exists(#version)';
  } else {
    values[':version'] = version;
  }
  return {
    Update: {
      ...conditional,
      TableName: tableName,
      Key: Object.fromEntries(keys),
      UpdateExpression:
        `SET ${assignments.join(', ')}` +
        (remove.length > 0 ? ` REMOVE ${remove.map((_, index) => `#remove${index}`).join(', ')}` : ''),
      ConditionExpression: condition,
      ExpressionAttributeNames: names,
      ExpressionAttributeValues: values,
    },
  };
}

const conditional = { ReturnValuesOnConditionCheckFailure: 'ALL_OLD' } as const;

function checkClient(client: unknown): void {
  if (isRecord(client) && isFunction(client.send)) return;
  throw bad(
    `Expected a DynamoDBClient or a DynamoDBDocumentClient as the first argument, got ${kindOf(client)}. For an entry of \`writes\`, call .write(options).`,
  );
}

function checkOptions(helper: string, options: unknown, known: readonly string[]): void {
  if (!isPlain(options)) {
    throw bad(`Expected ${helper} to be given an object with \`tableName\`, …, got ${kindOf(options)}.`);
  }
  checkKnown('', options, known);
  const { tableName } = options;
  if (typeof tableName === 'string' && tableName !== '') return;
  throw bad(`Expected \`tableName\` to be the name of a table, got ${show(tableName)}.`);
}

const isKeyValue = (value: unknown): boolean =>
  typeof value === 'string' || value instanceof Uint8Array
    ? value.length > 0
    : Number.isFinite(value) || typeof value === 'bigint';

/** DynamoDB stores one character for all halves of surrogate pairs: two keys would be one. */
function checkWellFormed(option: string, keyValues: readonly unknown[]): void {
  if (keyValues.every((value) => typeof value !== 'string' || value.isWellFormed())) return;
  throw bad(
    `Expected the key in \`${option}\` to be without half of a surrogate pair, which is left where a string is cut inside an emoji: DynamoDB would store another character for it.`,
  );
}

const isVersion = (value: unknown): boolean =>
  value === undefined || Number.isFinite(value) || (typeof value === 'string' && value !== '');

function asAttributes<Stored>(option: string, convert: () => Stored): Stored {
  try {
    return convert();
  } catch (error) {
    throw bad(`\`${option}\` has a value that DynamoDB cannot hold: ${whyUnstorable(error)}.`);
  }
}

/** In an item with free names, a name is data. */
const named = (name: string): string => (/^[A-Za-z_][\w.-]{0,39}$/.test(name) ? `'${name}'` : 'an attribute');

const bad = (message: string): IdempotencyError => new IdempotencyError('BAD_OPTION', message);

/** A `Buffer` that was put comes back as a `Uint8Array`. */
const withPlainBytes = (item: unknown): unknown => structuredClone(item);
