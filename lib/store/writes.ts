/** A handler's own writes: what can be told to be wrong with them before anything is sent. No message shows what they hold. */
import { IdempotencyError } from '../errors.ts';
import { isRecord, kindOf } from '../validate.ts';
import { type AttributeValue, whyUnstorable } from './attribute-values.ts';
import type { TransactionRequest, TransactWrite } from './store.ts';

/** @see https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_TransactWriteItems.html */
const maxItems = 100;

export const writeKinds = ['Put', 'Update', 'Delete', 'ConditionCheck'] as const;

type Stored = Record<string, AttributeValue>;

/** A write as DynamoDB takes it. */
export interface StoredWrite {
  readonly Put?: StoredAction & { readonly Item: Stored };
  readonly Update?: StoredAction & { readonly Key: Stored; readonly UpdateExpression: string | undefined };
  readonly Delete?: StoredAction & { readonly Key: Stored };
  readonly ConditionCheck?: StoredAction & {
    readonly Key: Stored;
    readonly ConditionExpression: string | undefined;
  };
}

interface StoredAction {
  readonly TableName: string;
  readonly ConditionExpression?: string | undefined;
  readonly ExpressionAttributeNames?: Record<string, string>;
  readonly ExpressionAttributeValues?: Stored;
  readonly ReturnValuesOnConditionCheckFailure: 'ALL_OLD';
}
/** An Item, a Key or the values of an expression. @throws Error that says where it is that cannot be stored */
type ToStored = (values: object) => Stored;

/** @throws `BAD_WRITES` where DynamoDB takes no transaction of so many items */
export function refuseTooMany({ claim, step, messages, writes }: TransactionRequest): void {
  const ownCount = (claim.kind === 'none' ? 0 : 1) + (step ? 1 : 0);
  const count = ownCount + messages.length + writes.length;
  if (count <= maxItems) return;
  throw badWrites(
    `A transaction takes at most ${maxItems} items; here are ${count}: ${writes.length} writes, ${messages.length} messages and ${ownCount} of the record. Split the work into steps.`,
  );
}

/** @throws `BAD_WRITES` for what is no write, holds what DynamoDB cannot, or is on an item that another one is on */
export function storedWrites(writes: readonly TransactWrite[], toStored: ToStored): StoredWrite[] {
  const stored = writes.map((write, index) => storedWrite(write, index, toStored));
  refuseDoubles(stored);
  return stored;
}

function storedWrite(write: TransactWrite, index: number, toStored: ToStored): StoredWrite {
  const [kind, ...others] = writeKinds.filter((one) => isRecord(write) && write[one] !== undefined);
  const action = kind && write[kind];
  if (kind === undefined || others.length > 0) {
    const found = kind === undefined ? 'none of them' : `${kind} and ${others.join(' and ')}`;
    throw badWrites(
      `Write ${index} must have one of ${writeKinds.join(', ')}, got ${isRecord(write) ? `an object with ${found}` : kindOf(write)}.`,
    );
  }
  if (!isRecord(action))
    throw badWrites(`Write ${index} (${kind}) must be an object, got ${kindOf(action)}.`);
  if (typeof action.TableName !== 'string' || action.TableName === '') {
    throw badWrites(`Write ${index} (${kind}) has no TableName, got ${kindOf(action.TableName)}.`);
  }
  const needed = kind === 'Put' ? 'Item' : 'Key';
  if (!isRecord(action[needed])) throw badWrites(`Write ${index} (${kind}) has no ${needed}.`);
  const converted: Record<string, Stored> = {};
  for (const name of ['Item', 'Key', 'ExpressionAttributeValues']) {
    const values = action[name];
    if (!isRecord(values)) continue;
    try {
      converted[name] = toStored(values);
    } catch (error) {
      throw badWrites(
        `Write ${index} (${kind}) has a value that DynamoDB cannot hold: ${name}: ${whyUnstorable(error)}.`,
      );
    }
  }
  // Only with ALL_OLD can a rejection show what it met.
  const read = { ReturnValuesOnConditionCheckFailure: 'ALL_OLD' };
  return { [kind]: { ...action, ...converted, ...read } } as StoredWrite;
}

/**
 * What DynamoDB refuses as a whole, where it can be told: a Put does not say which of its attributes are the key, but
 * another write on the table does.
 */
function refuseDoubles(writes: readonly StoredWrite[]): void {
  const actions = writes.map(({ Put, Update, Delete, ConditionCheck }) => {
    const keyed = Update ?? Delete ?? ConditionCheck;
    return { table: Put?.TableName ?? keyed?.TableName ?? '', key: keyed?.Key, item: Put?.Item };
  });
  const keyNames = new Map<string, string[]>();
  for (const { table, key } of actions) if (key) keyNames.set(table, Object.keys(key).sort());
  const places = new Map<string, number>();
  for (const [index, { table, key, item }] of actions.entries()) {
    const attributes = key ?? item ?? {};
    const names = keyNames.get(table) ?? Object.keys(attributes).sort();
    const place = text([table, names.map((name) => [name, attributes[name]])]);
    const double = places.get(place);
    if (double !== undefined) {
      throw badWrites(
        `Writes ${double} and ${index} are on the same item of table '${table}'. Make one write of them.`,
      );
    }
    places.set(place, index);
  }
}

const text = (value: unknown): string =>
  JSON.stringify(value, (_, inner) =>
    inner instanceof Uint8Array ? Buffer.from(inner).toString('base64') : inner,
  ) ?? '';

/** A cause is not kept: it may quote the values. */
export const badWrites = (message: string): IdempotencyError => new IdempotencyError('BAD_WRITES', message);

/** Up to the last `]` only: behind it every `[` would be followed to the end in vain. */
function withoutBrackets(text: string): string {
  const end = text.lastIndexOf(']') + 1;
  return text.slice(0, end).replace(/\[[^\]]*\]/g, '[…]') + text.slice(end);
}

/**
 * What DynamoDB said of writes, without what they hold: it quotes values, and of an expression the place where it stopped
 * reading.
 */
export function withoutValues(said: string, writes: readonly object[]): string {
  const place = said.search(/(?:token|near): /);
  const text = withoutBrackets(place === -1 ? said : said.slice(0, place).trimEnd().replace(/;$/, ''));
  const held = writes
    .flatMap(Object.values)
    .flatMap((action: Record<string, Stored | undefined>) =>
      [action.Item, action.Key, action.ExpressionAttributeValues].flatMap((values) =>
        Object.values(values ?? {}).flatMap(textsIn),
      ),
    );
  // One character is no word of its own, and would take the message apart.
  const quoted = new Set(held.filter((one) => one.length > 1 && text.includes(one)));
  // The longest first: a shorter one may be a part of it, and would leave the rest.
  return [...quoted]
    .sort((one, other) => other.length - one.length)
    .reduce((rest, one) => rest.replaceAll(one, '…'), text);
}

/** The texts and numbers in a value. */
function textsIn(value: AttributeValue): string[] {
  const { S, N, SS = [], NS = [], L = [], M = {} } = value;
  const own = [S, N, ...SS, ...NS].filter((held) => typeof held === 'string');
  return [...own, ...L.flatMap(textsIn), ...Object.values<AttributeValue>(M).flatMap(textsIn)];
}
