import {
  DynamoDBClient,
  GetItemCommand,
  PutItemCommand,
  type PutItemCommandInput,
  QueryCommand,
  UpdateItemCommand,
  type UpdateItemCommandInput,
} from '@aws-sdk/client-dynamodb';
import { badOption, IdempotencyError, show, storeUnavailable } from '../errors.ts';
import { attribute, chunkSortKeyPrefix, environment, tableLayout } from '../record.ts';
import type { ClaimWritten, Clock, Completion, Seal, Store, Written } from '../store/index.ts';
import { uniqueId } from '../unique-id.ts';
import { checkedElsewhere, complete, isFunction, isRecord, type Rules, rule } from '../validate.ts';
import type { DynamoClient } from './client.ts';
import { type AnswerInItems, type Chunks, type Item, type Items, itemsOf, type Names } from './items.ts';
import { inDoubt, type Sent, sendConditional } from './send.ts';
import type { WorkItems } from './work-items.ts';

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
  /** Encrypts answers, steps' values, staged messages and inputs that are kept, before they are stored. @default none: the table's own encryption */
  readonly seal?: Seal;
  /** Time, for tests of expiry and skew. @default the system's */
  readonly clock?: Clock;
}

/** What steps and transactions need of a table, and a guard without them does not. */
export interface Parts {
  readonly tableName: string;
  readonly names: Names;
  readonly client: DynamoClient;
  readonly items: Items;
  /** Names the table among those that have taken an update. */
  readonly place: string;
  query(pk: string, prefix: string): Promise<Item[]>;
  /** @param mostInlineBytes how large an answer may lie in the record's own item */
  storeAnswer(completion: Completion, mostInlineBytes?: number): AnswerInItems | Promise<AnswerInItems>;
  /** What transactions write, where it is not what `items` has. */
  workItems?(): WorkItems;
  failed(sent: Extract<Sent, { outcome: 'failed' }>, action: string): IdempotencyError;
}

export const parts: unique symbol = Symbol.for('idemkit.dynamodb');

export interface DynamoStore extends Store {
  /** @internal What `completed()` makes steps and transactions of. */
  readonly [parts]: Parts;
}

/** An answer up to this size lies in the claim item; a failed conditional write is priced by the item it meets. */
const inlineBytes = 4_096;
/** An item may have 400 KB, names and keys included. */
const chunkBytes = 380_000;
/** 1,000 write units are what one partition takes in a second. */
const maxAnswerBytes = 1_000_000;
/** A record that somebody else has written may name any number. */
const maxChunks = Math.ceil(maxAnswerBytes / chunkBytes);

/**
 * A store on a DynamoDB table: string keys `pk` and `sk`, TTL on `expiresAt`, on-demand. Every write is conditional, so
 * a table replicated by last-writer-wins to a second Region does not protect across Regions.
 *
 * @throws `BAD_OPTION`
 */
export function dynamoStore(options: DynamoStoreOptions = {}): DynamoStore {
  const given = complete(options, rules, { elsewhere: powertoolsNames });
  const tableName = given.tableName ?? process.env[environment.table];
  if (typeof tableName !== 'string' || tableName === '') {
    throw badOption(
      `Expected a table's name in ${environment.table} or dynamoStore({ tableName }), got ${show(tableName)}. In unit tests, use memoryStore() of idemkit/testing, or set ${environment.disabled}=true.`,
    );
  }
  const { seal, clock, client = defaultClient() } = given;
  const names = { pk: given.partitionKey, sk: given.sortKey, ttl: given.ttlAttribute };
  const send = <T>(command: object, action: string): Promise<T> =>
    client.send(command).catch((error: unknown) => {
      throw explain(error, tableName, names, action);
    });

  const items = itemsOf(tableName, names, readChunks);
  const failed = ({ failure, isRepeat }: Extract<Sent, { outcome: 'failed' }>, action: string) =>
    inDoubt(isRepeat, explain(failure, tableName, names, action));
  const written = (sent: Exclude<Sent, { outcome: 'failed' }>): Written =>
    sent.outcome === 'applied'
      ? { outcome: 'applied' }
      : { outcome: 'stopped', found: sent.found && items.readClaim(sent.found) };
  const write = (command: object, action: string): Promise<Written> =>
    sendConditional(client, command, (sent) => {
      if (sent.outcome === 'failed') throw failed(sent, action);
      return written(sent);
    });
  /** A claim or a takeover: whoever is in its way is at work on the operation. */
  const writeClaim = (command: object, action: string): Promise<ClaimWritten> =>
    sendConditional(client, command, (sent) => {
      if (sent.outcome !== 'failed') return written(sent);
      if (sent.isConflict) return { outcome: 'blocked', isRepeat: sent.isRepeat };
      throw failed(sent, action);
    });
  /**
   * A Put does not see that the table has no sort key, nor that this role may not update: the handler would run, and its
   * completion fail. So the first claim of a process is an update, which sees both.
   */
  const place = JSON.stringify([tableName, names.pk, names.sk]);
  const putClaim = <Outcome extends ClaimWritten>(
    claim: ReturnType<typeof items.claim>,
    send: Write<Outcome>,
  ): Promise<Outcome> => (provenTables.has(place) ? put(claim, send) : prove(claim, send));
  const prove = async <Outcome extends ClaimWritten>(
    claim: ReturnType<typeof items.claim>,
    send: Write<Outcome>,
  ): Promise<Outcome> => {
    const written = await update(items.upsert(claim), send);
    if (written.outcome !== 'blocked') provenTables.add(place);
    return written;
  };
  /**
   * All items of a partition whose sort key begins so, in their order.
   *
   * @param enough how many items to stop at: a page has 1 MB at most, all pages together may have any size
   */
  const query = async (pk: string, prefix: string, enough = Number.POSITIVE_INFINITY): Promise<Item[]> => {
    const found: Item[] = [];
    let ExclusiveStartKey: Item | undefined;
    do {
      const page: { Items?: Item[]; LastEvaluatedKey?: Item } = await send(
        new QueryCommand({ ...items.under(pk, prefix), ExclusiveStartKey }),
        'dynamodb:Query',
      );
      found.push(...(page.Items ?? []));
      ExclusiveStartKey = page.LastEvaluatedKey;
    } while (ExclusiveStartKey && found.length < enough);
    return found;
  };

  async function readChunks({ pk, window, writeId, count }: Chunks): Promise<Uint8Array | undefined> {
    if (count > maxChunks) return undefined;
    const chunks = await query(pk, chunkSortKeyPrefix(window, writeId), maxChunks + 1);
    if (chunks.length !== count) return undefined;
    return Buffer.concat(chunks.map((item) => item[attribute.data]?.B ?? new Uint8Array()));
  }

  const storeAnswer = (
    completion: Completion,
    mostInlineBytes = inlineBytes,
  ): AnswerInItems | Promise<AnswerInItems> => {
    const { answer } = completion;
    if (!ArrayBuffer.isView(answer)) return { kind: 'unavailable', ...answer };
    return answer.length <= mostInlineBytes
      ? { kind: 'inline', bytes: answer }
      : storeChunks(completion, answer);
  };

  /** Chunks are written before the item that points at them. */
  const storeChunks = async (
    { pk, window, endsAtMs }: Completion,
    answer: Uint8Array,
  ): Promise<AnswerInItems> => {
    // A new id for every write: a repeat after a lost answer must not mix its chunks with an earlier one's.
    const writeId = uniqueId();
    const puts: Promise<unknown>[] = [];
    for (let start = 0; start < answer.length; start += chunkBytes) {
      const data = answer.subarray(start, start + chunkBytes);
      const chunk = items.chunk({ pk, window, endsAtMs, writeId, index: puts.length, data });
      puts.push(put(chunk, send));
    }
    await Promise.all(puts);
    return { kind: 'chunks', writeId, count: puts.length };
  };

  const writeWithAnswer = (
    completion: Completion,
    writeStored: (stored: AnswerInItems) => Promise<Written>,
  ): Promise<Written> => {
    const stored = storeAnswer(completion);
    return stored instanceof Promise ? stored.then(writeStored) : writeStored(stored);
  };

  return {
    id: `dynamodb:${tableName}`,
    maxAnswerBytes,
    ...(seal && { seal }),
    ...(clock && { clock }),

    claim: (claim) => putClaim(items.claim(claim), writeClaim),

    takeOver: (takeover) => update(items.takeover(takeover), writeClaim),

    complete: (completion) =>
      writeWithAnswer(completion, (stored) => update(items.completion(completion, stored), write)),

    claimCompleted: (claim, completion) =>
      writeWithAnswer(completion, (stored) =>
        putClaim(items.completedClaim(claim, completion, stored), write),
      ),

    amend: (completion) =>
      writeWithAnswer(completion, (stored) => update(items.amendment(completion, stored), write)),

    giveBack: (claim) => put(items.release(claim), write),

    endLease: (claim) => update(items.leaseEnd(claim), write),

    async read(pk) {
      const { Item } = await send<{ Item?: Item }>(
        new GetItemCommand({ TableName: tableName, Key: items.keyOf(pk), ConsistentRead: true }),
        'dynamodb:GetItem',
      );
      return Item && items.readClaim(Item);
    },

    [parts]: { tableName, names, client, items, place, query, storeAnswer, failed } satisfies Parts,
  };
}

/** Sends a command, and reads what came of it. `action` is what the role must allow. */
type Write<Outcome> = (command: object, action: string) => Promise<Outcome>;

const put = <Outcome>(input: PutItemCommandInput, send: Write<Outcome>): Promise<Outcome> =>
  send(new PutItemCommand(input), 'dynamodb:PutItem');

const update = <Outcome>(input: UpdateItemCommandInput, send: Write<Outcome>): Promise<Outcome> =>
  send(new UpdateItemCommand(input), 'dynamodb:UpdateItem');

/** Tables that have taken an update under these key names. */
export const provenTables = new Set<string>();

const ownAttributes: ReadonlySet<string> = new Set(Object.values(attribute));

const ofAttribute = rule(
  `an attribute's name, and none of the record's own (${[...ownAttributes].join(', ')})`,
  (value) => typeof value === 'string' && value !== '' && !ownAttributes.has(value),
);

const rules = {
  tableName: checkedElsewhere,
  client: rule(
    'a DynamoDBClient or a DynamoDBDocumentClient',
    (value) => isRecord(value) && isFunction(value.send),
  ),
  partitionKey: { ...ofAttribute, fallback: tableLayout.partitionKey },
  sortKey: { ...ofAttribute, fallback: tableLayout.sortKey },
  ttlAttribute: { ...ofAttribute, fallback: tableLayout.ttlAttribute },
  seal: rule(
    'an object with the functions seal and open',
    (value) => isRecord(value) && isFunction(value.seal) && isFunction(value.open),
  ),
  clock: checkedElsewhere,
} satisfies Rules<DynamoStoreOptions>;

/** What Powertools for AWS Lambda calls them. */
const powertoolsNames: Readonly<Record<string, keyof DynamoStoreOptions>> = {
  awsSdkV3Client: 'client',
  clientConfig: 'client',
  keyAttr: 'partitionKey',
  sortKeyAttr: 'sortKey',
  expiryAttr: 'ttlAttribute',
};

function defaultClient(): DynamoClient {
  return new DynamoDBClient({
    // Without throwOnRequestTimeout the SDK only warns of a slow request.
    requestHandler: { connectionTimeout: 1_000, requestTimeout: 2_000, throwOnRequestTimeout: true },
  });
}

export const isNamed = (error: unknown, ...names: readonly string[]): boolean =>
  names.includes((error as { name?: string } | null)?.name ?? '');

/** Turns what the SDK threw into what its caller can do about it. */
export function explain(error: unknown, tableName: string, names: Names, action: string): IdempotencyError {
  const said = error instanceof Error ? error.message : String(error);
  if (isNamed(error, 'ResourceNotFoundException')) {
    return misconfigured(
      `There is no table '${tableName}' in this account and Region. Create it (string keys '${names.pk}' and '${names.sk}', TTL on '${names.ttl}'), or name the right one in ${environment.table} or dynamoStore({ tableName }).`,
      error,
    );
  }
  if (isNamed(error, 'AccessDeniedException')) {
    return misconfigured(
      `This function may not ${action} on table '${tableName}'. Its role needs PutItem, UpdateItem, GetItem and Query on it, and for transactions ConditionCheckItem. DynamoDB said: ${said}`,
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
      `DynamoDB cannot be called: ${/[.!?]$/.test(said) ? said : `${said}.`} Give the function a role, or locally AWS_REGION and credentials.`,
      error,
    );
  }
  return storeUnavailable(error);
}

export const wrongKeys = (tableName: string, names: Names): string =>
  `The partition key of table '${tableName}' must be '${names.pk}' and its sort key '${names.sk}', both strings. Name others in dynamoStore({ partitionKey, sortKey }).`;

export const misconfigured = (message: string, cause?: unknown): IdempotencyError =>
  new IdempotencyError('STORE_MISCONFIGURED', message, { cause });
