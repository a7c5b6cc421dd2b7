/** Writes the protocol's records as DynamoDB requests with their conditions, and reads items as records. */
import { attribute, type ClaimStatus, chunkSortKey, claimSortKey, cleanupAtSeconds } from '../record.ts';
import type {
  AttributeValue,
  ClaimRecord,
  Completion,
  NewClaim,
  Return,
  StoredAnswer,
  Takeover,
  Unavailable,
  UnavailableReason,
} from '../store/index.ts';

export type Item = Record<string, AttributeValue>;

/** Names of the keys and of the TTL attribute. */
export interface Names {
  readonly pk: string;
  readonly sk: string;
  readonly ttl: string;
}

/** Where the chunks of an answer lie that is too large for the claim's item. */
export interface Chunks {
  readonly pk: string;
  readonly window: string;
  /** A new one for every write of an answer. */
  readonly writeId: string;
  readonly count: number;
}

/** An answer as it lies in the table. */
export type AnswerInItems =
  | { readonly kind: 'inline'; readonly bytes: Uint8Array }
  | { readonly kind: 'chunks'; readonly writeId: string; readonly count: number }
  | ({ readonly kind: 'unavailable' } & Unavailable);

export interface Owned {
  readonly pk: string;
  readonly owner: string;
}

export type Items = ReturnType<typeof itemsOf>;

/** Attributes by their own names, which the compiler checks. Written out, V8 makes them several times faster than computed. */
type OwnAttributes = Partial<Record<(typeof attribute)[keyof typeof attribute], AttributeValue>>;

/** What the placeholders of an expression stand for. */
type Placeholders = Readonly<Record<string, string>>;

/** Every write except that of a chunk has a condition, and brings back the item that stopped it. */
export function itemsOf(
  TableName: string,
  names: Names,
  readChunks: (chunks: Chunks) => Promise<Uint8Array | undefined>,
) {
  const keyOf = (pk: string, sk: string = claimSortKey): Item => ({
    [names.pk]: { S: pk },
    [names.sk]: { S: sk },
  });
  const ReturnValuesOnConditionCheckFailure = 'ALL_OLD';
  const conditional = { TableName, ReturnValuesOnConditionCheckFailure } as const;
  const free =
    'attribute_not_exists(#pk) OR (#endsAt <= :now AND (#status = :completed OR #leaseUntil <= :now))';
  const namesInFree = {
    '#pk': names.pk,
    '#endsAt': attribute.endsAt,
    '#status': attribute.status,
    '#leaseUntil': attribute.leaseUntil,
  } as const;
  const valuesInFree = (nowMs: number): Item => ({
    ':now': number(nowMs),
    ':completed': status('COMPLETED'),
  });
  // All requests of a kind have one shape, which V8 makes and reads faster.
  const put = (
    Item: Item,
    ConditionExpression: string,
    ExpressionAttributeNames: Placeholders,
    ExpressionAttributeValues: Item,
  ) =>
    ({
      TableName,
      Item,
      ConditionExpression,
      ExpressionAttributeNames,
      ExpressionAttributeValues,
      ReturnValuesOnConditionCheckFailure,
    }) as const;
  const update = (
    Key: Item,
    UpdateExpression: string,
    ConditionExpression: string,
    ExpressionAttributeNames: Placeholders,
    ExpressionAttributeValues: Item,
  ) =>
    ({
      TableName,
      Key,
      UpdateExpression,
      ConditionExpression,
      ExpressionAttributeNames,
      ExpressionAttributeValues,
      ReturnValuesOnConditionCheckFailure,
    }) as const;
  const putIfFree = (item: Item, nowMs: number) => put(item, free, namesInFree, valuesInFree(nowMs));
  const ifMine = '#owner = :owner AND #status = :inProgress';
  const ownedBy = (owner: string): Item => ({ ':owner': { S: owner }, ':inProgress': status('IN_PROGRESS') });

  const newClaim = (claim: NewClaim): Item => {
    const item: Item = {
      status: status('IN_PROGRESS'),
      owner: { S: claim.owner },
      window: { S: claim.owner },
      attempt: number(1),
      leaseUntil: number(claim.leaseUntilMs),
      endsAt: number(claim.endsAtMs),
      createdAt: number(claim.nowMs),
    } satisfies OwnAttributes;
    item[names.pk] = { S: claim.pk };
    item[names.sk] = { S: claimSortKey };
    item[names.ttl] = number(cleanupAtSeconds(claim.endsAtMs));
    if (claim.fingerprint !== undefined) item[attribute.fingerprint] = { S: claim.fingerprint };
    if (claim.rawKey !== undefined) item[attribute.key] = { S: claim.rawKey };
    if (claim.rawInput !== undefined) item[attribute.input] = { B: claim.rawInput };
    return item;
  };

  const completed = ({ completedAtMs, endsAtMs }: Completion, answer: AnswerInItems): Item => {
    const attributes: Item = {
      status: status('COMPLETED'),
      completedAt: number(completedAtMs),
      endsAt: number(endsAtMs),
    } satisfies OwnAttributes;
    attributes[names.ttl] = number(cleanupAtSeconds(endsAtMs));
    return Object.assign(attributes, answerAttributes(answer));
  };

  const claimPut = (claim: NewClaim) => putIfFree(newClaim(claim), claim.nowMs);
  const completedPut = (claim: NewClaim, completion: Completion, answer: AnswerInItems) =>
    putIfFree({ ...newClaim(claim), ...completed(completion, answer) }, claim.nowMs);

  function readAnswer(item: Item, pk: string, window: string): StoredAnswer {
    const bytes = item[attribute.data]?.B;
    if (bytes) return { kind: 'inline', bytes };
    const writeId = item[attribute.writeId]?.S;
    if (!writeId) return { kind: 'unavailable', ...readUnavailable(item) };
    const chunks = { pk, window, writeId, count: numberIn(item, attribute.chunks) };
    return { kind: 'elsewhere', read: () => readChunks(chunks) };
  }

  return {
    tableName: TableName,
    names,
    keyOf,
    conditional,
    mine,
    ifMine,
    ownedBy,
    update,

    claim: claimPut,
    completedClaim: completedPut,
    /** The same claim as an update. It removes what an earlier record left. */
    upsert: (claim: ReturnType<typeof putIfFree>) => {
      const { [names.pk]: pk, [names.sk]: sk, ...attributes } = claim.Item;
      const set = assignment(attributes);
      const stale = removal(passingNames.filter((name) => !(name in attributes)));
      return update(
        { [names.pk]: pk, [names.sk]: sk } as Item,
        `SET ${set.expression} ${stale.expression}`,
        claim.ConditionExpression,
        { ...set.names, ...stale.names, ...claim.ExpressionAttributeNames },
        { ...set.values, ...claim.ExpressionAttributeValues },
      );
    },

    takeover: ({ pk, owner, previousOwner, attempt, leaseUntilMs }: Takeover) =>
      update(
        keyOf(pk),
        'SET #owner = :newOwner, #leaseUntil = :leaseUntil, #attempt = :attempt',
        ifMine,
        { ...mine, '#leaseUntil': attribute.leaseUntil, '#attempt': attribute.attempt },
        {
          ...ownedBy(previousOwner),
          ':newOwner': { S: owner },
          ':leaseUntil': number(leaseUntilMs),
          ':attempt': number(attempt),
        },
      ),

    completion(completion: Completion, answer: AnswerInItems) {
      const { expression, names, values } = assignment(completed(completion, answer));
      const ours = Object.assign(values, ownedBy(completion.owner));
      return update(keyOf(completion.pk), `SET ${expression}`, ifMine, names, ours);
    },

    amendment({ pk, owner }: Completion, answer: AnswerInItems) {
      const attributes = answerAttributes(answer);
      const set = assignment(attributes);
      const stale = removal(answerNames.filter((name) => !(name in attributes)));
      return update(
        keyOf(pk),
        `SET ${set.expression} ${stale.expression}`,
        '#owner = :owner AND #status = :completed',
        { ...set.names, ...stale.names },
        { ...set.values, ':owner': { S: owner }, ':completed': status('COMPLETED') },
      );
    },

    /** Replaces a claim by a record that binds nobody. It also keeps out a claim that arrives later. */
    release({ pk, owner, askedAtMs }: Return) {
      const endsAtMs = askedAtMs + 1;
      const item: Item = {
        ...keyOf(pk),
        ...({
          status: status('RELEASED'),
          owner: { S: owner },
          window: { S: owner },
          attempt: number(1),
          leaseUntil: number(0),
          createdAt: number(askedAtMs),
          endsAt: number(endsAtMs),
        } satisfies OwnAttributes),
        [names.ttl]: number(cleanupAtSeconds(endsAtMs)),
      };
      return put(
        item,
        `${free} OR (${ifMine})`,
        { ...namesInFree, ...mine },
        { ...valuesInFree(askedAtMs), ...ownedBy(owner) },
      );
    },

    leaseEnd: ({ pk, owner }: Owned) =>
      update(
        keyOf(pk),
        'SET #leaseUntil = :over',
        ifMine,
        { ...mine, '#leaseUntil': attribute.leaseUntil },
        { ...ownedBy(owner), ':over': number(0) },
      ),

    chunk: (chunk: {
      readonly pk: string;
      readonly window: string;
      readonly writeId: string;
      readonly index: number;
      readonly data: Uint8Array;
      readonly endsAtMs: number;
    }) => ({
      TableName,
      Item: {
        ...keyOf(chunk.pk, chunkSortKey(chunk.window, chunk.writeId, chunk.index)),
        [attribute.data]: { B: chunk.data },
        [names.ttl]: number(cleanupAtSeconds(chunk.endsAtMs)),
      } as Item,
    }),

    /** Everything in a partition whose sort key begins with `prefix`, read consistently. */
    under: (pk: string, prefix: string) => ({
      TableName,
      ConsistentRead: true,
      KeyConditionExpression: '#pk = :pk AND begins_with(#sk, :prefix)',
      ExpressionAttributeNames: { '#pk': names.pk, '#sk': names.sk },
      ExpressionAttributeValues: { ':pk': { S: pk }, ':prefix': { S: prefix } } as Item,
    }),

    readAnswer,

    readClaim(item: Item): ClaimRecord {
      const found = item as OwnAttributes;
      const claimStatus = statusIn(item);
      const pk = item[names.pk]?.S ?? '';
      const window = found.window?.S ?? '';
      return {
        pk,
        status: claimStatus,
        owner: found.owner?.S ?? '',
        window,
        attempt: numberIn(item, attribute.attempt),
        leaseUntilMs: numberIn(item, attribute.leaseUntil),
        endsAtMs: numberIn(item, attribute.endsAt),
        createdAtMs: numberIn(item, attribute.createdAt),
        ...(found.fingerprint?.S !== undefined && { fingerprint: found.fingerprint.S }),
        ...(claimStatus === 'COMPLETED' && {
          completedAtMs: numberIn(item, attribute.completedAt),
          answer: readAnswer(item, pk, window),
        }),
      };
    },
  };
}

/** The names in the condition that a claim is this owner's. */
const mine = { '#owner': attribute.owner, '#status': attribute.status } as const;

const status = (value: ClaimStatus): AttributeValue => ({ S: value });
export const number = (value: number): AttributeValue => ({ N: String(value) });
export const numberIn = (item: Item, name: string): number => Number(item[name]?.N);

const statusIn = (item: Item): ClaimStatus => {
  const found = item[attribute.status]?.S;
  return found === 'COMPLETED' || found === 'RELEASED' ? found : 'IN_PROGRESS';
};

export const answerNames: readonly string[] = [
  attribute.data,
  attribute.writeId,
  attribute.chunks,
  attribute.unavailable,
  attribute.unavailableDetail,
];

/** Attributes that not every claim has. A new claim removes the old ones. */
const passingNames = [
  ...answerNames,
  attribute.fingerprint,
  attribute.completedAt,
  attribute.key,
  attribute.input,
];

/** `REMOVE #stale0, …` */
function removal(attributeNames: readonly string[]) {
  const names = Object.fromEntries(attributeNames.map((name, index) => [`#stale${index}`, name]));
  return { expression: `REMOVE ${Object.keys(names).join(', ')}`, names };
}

export function answerAttributes(answer: AnswerInItems): Item {
  switch (answer.kind) {
    case 'inline':
      return { [attribute.data]: { B: answer.bytes } };
    case 'chunks':
      return { [attribute.writeId]: { S: answer.writeId }, [attribute.chunks]: number(answer.count) };
    case 'unavailable':
      return unavailableAttributes(answer);
  }
}

export const unavailableAttributes = ({ reason, detail }: Unavailable): Item => ({
  [attribute.unavailable]: { S: reason },
  ...(detail !== undefined && { [attribute.unavailableDetail]: { S: detail } as AttributeValue }),
});

export function readUnavailable(item: Item): Unavailable {
  const reason = (item[attribute.unavailable]?.S ?? 'unserialisable') as UnavailableReason;
  const detail = item[attribute.unavailableDetail]?.S;
  return { reason, ...(detail !== undefined && { detail }) };
}

interface Assignment {
  readonly expression: string;
  /** Also those of the condition that a claim is this owner's, which every write has that assigns. */
  readonly names: Placeholders;
  /** Placeholders of the values. */
  readonly values: readonly string[];
}

const assignments = new Map<string, Assignment>();

/** Names of idemkit's attributes. They may stand in placeholders; a table's own key and TTL names may not. */
const own: ReadonlySet<string> = new Set(Object.values(attribute));

/**
 * `#status = :set0, …`. Every name has a placeholder: several are reserved words, and the TTL attribute has the table's name.
 * Expressions are kept, because there are few sets of names and every call needs one.
 */
export function assignment(
  attributes: Item,
): Pick<Assignment, 'expression' | 'names'> & { readonly values: Item } {
  const names = Object.keys(attributes);
  const set = names.join();
  let known = assignments.get(set);
  if (known === undefined) {
    known = assignmentOf(names);
    assignments.set(set, known);
  }
  const values: Item = {};
  for (let index = 0; index < names.length; index++) {
    values[known.values[index] ?? ''] = attributes[names[index] ?? ''] as AttributeValue;
  }
  return { expression: known.expression, names: known.names, values };
}

function assignmentOf(names: readonly string[]): Assignment {
  const placeholders = names.map((name, index) => (own.has(name) ? `#${name}` : `#set${index}`));
  const values = names.map((_, index) => `:set${index}`);
  return {
    expression: placeholders.map((placeholder, index) => `${placeholder} = ${values[index]}`).join(', '),
    names: {
      ...Object.fromEntries(placeholders.map((placeholder, index) => [placeholder, names[index] ?? ''])),
      ...mine,
    },
    values,
  };
}
