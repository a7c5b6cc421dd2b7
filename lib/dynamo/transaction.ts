/** A transaction as DynamoDB takes it, and what its cancellation means. */
import type { TransactWriteItem, TransactWriteItemsCommandInput } from '@aws-sdk/client-dynamodb';
import { IdempotencyError } from '../errors.ts';
import {
  type AttributeValue,
  badWrites,
  type Completion,
  type Rejection,
  refuseTooMany,
  storedWrites,
  type Transacted,
  type TransactionRequest,
  withoutValues,
  writeKinds,
} from '../store/index.ts';
import type { AnswerInItems, Item } from './items.ts';
import type { PositionItems } from './position-items.ts';
import { inDoubt, wasRepeated } from './send.ts';
import { converter } from './values.ts';
import type { WorkItems } from './work-items.ts';

/** @see https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_CancellationReason.html */
interface CancellationReason {
  readonly Code?: string;
  readonly Message?: string;
  readonly Item?: Item;
}

/** @see https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_TransactWriteItems.html */
const maxBytes = 4 * 1024 * 1024;

/**
 * @param storeAnswer stores what of an answer does not fit into the claim; only once nothing else is wrong
 * @param isProven whether the table is known to take the record's keys
 * @throws `BAD_WRITES` where it can be told that DynamoDB would refuse it
 */
export async function transactionInput(
  request: TransactionRequest,
  items: WorkItems,
  storeAnswer: (completion: Completion) => AnswerInItems | Promise<AnswerInItems>,
  client: object,
  isProven: boolean,
): Promise<TransactWriteItemsCommandInput> {
  const { claim, writes } = request;
  refuseTooMany(request);
  const theirs = writes.length === 0 ? [] : storedWrites(writes, (await converter(client)).toStored);
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
  items: WorkItems & Partial<Pick<PositionItems, 'advance'>>,
  answer: AnswerInItems | undefined,
  isProven: boolean,
): TransactWriteItem[] {
  const own: TransactWriteItem[] = [];
  if (claim.kind === 'advance') own.push({ Update: items.advance?.(claim, nowMs, endsAtMs) });
  if (claim.kind === 'check') own.push({ ConditionCheck: items.ownership({ pk, owner: claim.owner }) });
  if (claim.kind === 'complete' && answer) own.push({ Update: items.completion(claim.completion, answer) });
  if (claim.kind === 'record' && answer) {
    own.push(items.recorded(claim.claim, claim.completion, answer, isProven));
  }
  if (step) own.push({ Put: items.step(step) });
  for (const message of messages) own.push({ Put: items.message(pk, window, message, nowMs, endsAtMs) });
  return own;
}

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
  input: TransactWriteItemsCommandInput,
  items: WorkItems,
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
      throw badWrites(
        `DynamoDB refused the transaction, and nothing was written: ${withoutValues(message ?? '', input.TransactItems ?? [])}`,
      );
    case 'ResourceNotFoundException':
      if (request.writes.length === 0) return undefined;
      throw inDoubt(
        isRepeat,
        badWrites(
          `One of the transaction's tables is not there, and nothing was written: ${tablesOf(request, items)}.`,
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
      return cancelled(CancellationReasons, isRepeat, request, input, items, client);
    default:
      return undefined;
  }
}

async function cancelled(
  reasons: readonly CancellationReason[],
  isRepeat: boolean,
  request: TransactionRequest,
  input: TransactWriteItemsCommandInput,
  items: WorkItems,
  client: object,
): Promise<Transacted> {
  const isFailed = (reason: CancellationReason | undefined) => reason?.Code === 'ConditionalCheckFailed';
  const hasClaim = request.claim.kind !== 'none';
  const claim = hasClaim ? reasons[0] : undefined;
  const step = request.step ? reasons[hasClaim ? 1 : 0] : undefined;
  const stopped = {
    ...(isFailed(claim) && { claim: { found: items.metBy(request, claim?.Item, isRepeat) } }),
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
        const said = withoutValues(Message ?? '', input.TransactItems ?? []);
        const refused = badWrites(`Write ${index} was refused, and nothing was written: ${said}`);
        throw inDoubt(isRepeat, refused);
      }
      rejections.push({ index, code: Code, ...(Item && { item: fromStored(Item) }) });
    }
  }
  return { outcome: 'cancelled', ...stopped, rejections };
}

/** @see https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_TransactWriteItems.html */
const passing = new Set(['TransactionConflict', 'ThrottlingError', 'ProvisionedThroughputExceeded']);

const tablesOf = ({ writes }: TransactionRequest, { tableName }: WorkItems): string =>
  [...new Set([tableName, ...writes.flatMap((write) => writeKinds.map((kind) => write[kind]?.TableName))])]
    .filter((name) => name !== undefined)
    .join(', ');
