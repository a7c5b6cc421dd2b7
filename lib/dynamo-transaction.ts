/** A transaction as DynamoDB takes it, and what its cancellation means. */
import type {
  AttributeValue,
  CancellationReason,
  TransactWriteItem,
  TransactWriteItemsCommandInput,
} from '@aws-sdk/client-dynamodb';
import type { Item, Items } from './dynamo-items.ts';
import { wasRepeated } from './dynamo-send.ts';
import { converter } from './dynamo-values.ts';
import { IdempotencyError, show, storeUnavailable } from './errors.ts';
import type {
  Completion,
  Rejection,
  StoredAnswer,
  Transacted,
  TransactionRequest,
  TransactWrite,
} from './store.ts';
import { isRecord } from './validate.ts';

/** @see https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_TransactWriteItems.html */
const maxItems = 100;
const maxBytes = 4 * 1024 * 1024;

const kinds = ['Put', 'Update', 'Delete', 'ConditionCheck'] as const;

/**
 * @param storeAnswer stores what of an answer does not fit into the claim; only once nothing else is wrong
 * @param isProven whether the table is known to take the record's keys
 * @throws `BAD_WRITES` where it can be told that DynamoDB would refuse it
 */
export async function transactionInput(
  request: TransactionRequest,
  items: Items,
  storeAnswer: (completion: Completion) => Promise<StoredAnswer>,
  client: object,
  isProven: boolean,
): Promise<TransactWriteItemsCommandInput> {
  const { claim, step, messages, writes } = request;
  const ownCount = (claim.kind === 'none' ? 0 : 1) + (step ? 1 : 0);
  const count = ownCount + messages.length + writes.length;
  if (count > maxItems) {
    throw badWrites(
      `A transaction takes at most ${maxItems} items; here are ${count}: ${writes.length} writes, ${messages.length} messages and ${ownCount} of the record. Split the work into steps.`,
    );
  }
  const theirs = await marshalled(writes, client);
  refuseDoubles(theirs);
  const completes = claim.kind === 'complete' || claim.kind === 'record';
  const answer = completes ? await storeAnswer(claim.completion) : undefined;
  const TransactItems = [...ownItems(request, items, answer, isProven), ...theirs];
  const bytes = TransactItems.reduce((sum, item) => sum + sizeOf(item), 0);
  if (bytes > maxBytes) {
    throw badWrites(
      `A transaction takes at most ${maxBytes} bytes; here are about ${bytes}. Split the work into steps, or keep large values elsewhere.`,
    );
  }
  return { TransactItems, ClientRequestToken: request.token };
}

/** The record's own items come first, so that their places are known: the claim, the step, the messages. */
function ownItems(
  { claim, step, messages, pk, window, nowMs, endsAtMs }: TransactionRequest,
  items: Items,
  answer: StoredAnswer | undefined,
  isProven: boolean,
): TransactWriteItem[] {
  const own: TransactWriteItem[] = [];
  if (claim.kind === 'check') own.push({ ConditionCheck: items.ownership({ pk, owner: claim.owner }) });
  if (claim.kind === 'complete' && answer) own.push({ Update: items.completion(claim.completion, answer) });
  if (claim.kind === 'record' && answer) {
    const put = items.completedClaim(claim.claim, claim.completion, answer);
    own.push(isProven ? { Put: put } : { Update: items.upsert(put) });
  }
  if (step) own.push({ Put: items.step(step) });
  for (const message of messages) own.push({ Put: items.message(pk, window, message, nowMs, endsAtMs) });
  return own;
}

async function marshalled(writes: readonly TransactWrite[], client: object): Promise<TransactWriteItem[]> {
  if (writes.length === 0) return [];
  const { toStored } = await converter(client);
  return writes.map((write, index) => {
    const [kind, ...others] = kinds.filter((one) => isRecord(write) && write[one] !== undefined);
    const action = kind && write[kind];
    if (kind === undefined || action === undefined || others.length > 0) {
      throw badWrites(
        `Write ${index} must have one of ${kinds.join(', ')}, got ${isRecord(write) ? `the members ${show(Object.keys(write))}` : show(write)}.`,
      );
    }
    if (typeof action.TableName !== 'string' || action.TableName === '') {
      throw badWrites(`Write ${index} (${kind}) has no TableName, got ${show(action.TableName)}.`);
    }
    const { Item, Key } = action as { Item?: Record<string, unknown>; Key?: Record<string, unknown> };
    const needed = kind === 'Put' ? 'Item' : 'Key';
    if (!isRecord(kind === 'Put' ? Item : Key)) {
      throw badWrites(`Write ${index} (${kind}) has no ${needed}.`);
    }
    try {
      return {
        [kind]: {
          ...action,
          ...(Item && { Item: toStored(Item) }),
          ...(Key && { Key: toStored(Key) }),
          ...(action.ExpressionAttributeValues && {
            ExpressionAttributeValues: toStored(action.ExpressionAttributeValues),
          }),
          // Only so can a rejection show what it met.
          ReturnValuesOnConditionCheckFailure: 'ALL_OLD',
        },
      } as TransactWriteItem;
    } catch (cause) {
      throw badWrites(
        `Write ${index} (${kind}) has a value that DynamoDB cannot hold: ${(cause as Error).message.split('\n')[0]}`,
      );
    }
  });
}

/**
 * What DynamoDB refuses as a whole, where it can be told: a Put does not say which of its attributes are the key, but
 * another write on the table does.
 */
function refuseDoubles(writes: readonly TransactWriteItem[]): void {
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

/** Names and values, about as DynamoDB counts them. */
function sizeOf(item: TransactWriteItem): number {
  const { Put, Update, Delete, ConditionCheck } = item;
  const action = Put ?? Update ?? Delete ?? ConditionCheck;
  const { Item, Key, ExpressionAttributeValues } = (action ?? {}) as Record<string, Item | undefined>;
  return sizeOfMap(Item) + sizeOfMap(Key) + sizeOfMap(ExpressionAttributeValues);
}

const sizeOfMap = (item: Item | undefined): number =>
  Object.entries(item ?? {}).reduce(
    (sum, [name, value]) => sum + Buffer.byteLength(name) + sizeOfValue(value),
    0,
  );

function sizeOfValue(value: AttributeValue): number {
  if (value.S !== undefined) return Buffer.byteLength(value.S);
  if (value.N !== undefined) return Math.ceil(value.N.length / 2) + 1;
  if (value.B !== undefined) return value.B.length;
  if (value.M !== undefined) return 3 + sizeOfMap(value.M);
  if (value.L !== undefined) return value.L.reduce((sum, one) => sum + 1 + sizeOfValue(one), 3);
  if (value.SS !== undefined) return value.SS.reduce((sum, one) => sum + Buffer.byteLength(one), 0);
  if (value.NS !== undefined) return value.NS.reduce((sum, one) => sum + Math.ceil(one.length / 2) + 1, 0);
  if (value.BS !== undefined) return value.BS.reduce((sum, one) => sum + one.length, 0);
  return 1;
}

/**
 * What a transaction that was not applied came to; `undefined` for an error that says nothing of that.
 *
 * @throws `BAD_WRITES` where DynamoDB refused what the handler asked for
 */
export async function readCancellation(
  error: unknown,
  request: TransactionRequest,
  items: Items,
  client: object,
): Promise<Transacted | undefined> {
  const { name, message, CancellationReasons } = error as {
    name?: string;
    message?: string;
    CancellationReasons?: CancellationReason[];
  };
  const isRepeat = wasRepeated(error);
  switch (name) {
    case 'TransactionInProgressException':
      return { outcome: 'in-progress' };
    case 'IdempotentParameterMismatchException':
      return { outcome: 'token-reused' };
    case 'ValidationException':
      // Without writes of the handler's it is our table that is wrong, which the store explains.
      if (request.writes.length === 0) return undefined;
      throw badWrites(`DynamoDB refused the transaction, and nothing was written: ${message}`, error);
    case 'ResourceNotFoundException':
      if (request.writes.length === 0) return undefined;
      throw inDoubt(
        isRepeat,
        badWrites(
          `One of the transaction's tables is not there, and nothing was written: ${tablesOf(request, items)}.`,
          error,
        ),
      );
    case 'AccessDeniedException':
      if (request.writes.length === 0) return undefined;
      throw inDoubt(
        isRepeat,
        new IdempotencyError(
          'STORE_MISCONFIGURED',
          `This function may not make all writes of the transaction, and nothing was written. Its role needs dynamodb:PutItem, dynamodb:UpdateItem, dynamodb:DeleteItem and dynamodb:ConditionCheckItem, as far as they are used, on ${tablesOf(request, items)}. DynamoDB said: ${message}`,
          { cause: error },
        ),
      );
    case 'TransactionCanceledException':
      if (!CancellationReasons) return undefined;
      return cancelled(CancellationReasons, isRepeat, request, items, client);
    default:
      return undefined;
  }
}

async function cancelled(
  reasons: readonly CancellationReason[],
  isRepeat: boolean,
  request: TransactionRequest,
  items: Items,
  client: object,
): Promise<Transacted> {
  const isFailed = (reason: CancellationReason | undefined) => reason?.Code === 'ConditionalCheckFailed';
  const hasClaim = request.claim.kind !== 'none';
  const claim = hasClaim ? reasons[0] : undefined;
  const step = request.step ? reasons[hasClaim ? 1 : 0] : undefined;
  const stopped = {
    ...(isFailed(claim) && { claim: { found: claim?.Item && items.readClaim(claim.Item) } }),
    ...(isFailed(step) && { step: { found: step?.Item && items.readStep(step.Item) } }),
    conflict: reasons.some(({ Code }) => Code !== undefined && passing.has(Code)),
    isRepeat,
  };
  const rejections: Rejection[] = [];
  // The handler's writes come last; what is said of them counts only where nothing else stopped the transaction.
  if (request.writes.length > 0 && !stopped.claim && !stopped.step && !stopped.conflict) {
    const { fromStored } = await converter(client);
    for (const [index, { Code, Item, Message }] of reasons.slice(-request.writes.length).entries()) {
      if (Code === undefined || Code === 'None') continue;
      if (Code === 'ValidationError') {
        const refused = badWrites(`Write ${index} was refused, and nothing was written: ${Message}`);
        throw inDoubt(isRepeat, refused);
      }
      rejections.push({ index, code: Code, ...(Item && { item: fromStored(Item) }) });
    }
  }
  return { outcome: 'cancelled', ...stopped, rejections };
}

/** What a refusal of a write says, unless it had been sent before: that sending may have been applied. */
export const inDoubt = (isRepeat: boolean, refusal: IdempotencyError): IdempotencyError =>
  isRepeat && refusal.code !== 'STORE_UNAVAILABLE' ? storeUnavailable(refusal) : refusal;

/** @see https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_TransactWriteItems.html */
const passing = new Set(['TransactionConflict', 'ThrottlingError', 'ProvisionedThroughputExceeded']);

const tablesOf = ({ writes }: TransactionRequest, { tableName }: Items): string =>
  [...new Set([tableName, ...writes.flatMap((write) => kinds.map((kind) => write[kind]?.TableName))])]
    .filter((name) => name !== undefined)
    .join(', ');

const badWrites = (message: string, cause?: unknown): IdempotencyError =>
  new IdempotencyError('BAD_WRITES', message, { cause });
