/** The database of a run. What changes in it is written into the history. */
import { type Applied, type Change, createDynamoModel, type Item } from '../dynamodb-model/index.ts';
import type { Call, ClaimItem, History, StagedItem } from './history.ts';
import { placesChanged } from './sender-item.ts';

export const recordsTable = 'records';
export const effectsTable = 'effects';

export interface Sender {
  readonly call: Call | undefined;
  readonly sentAtClockMs: number;
  readonly commandName: string;
}

export class Database {
  readonly #history: History;
  readonly #nowMs: () => number;
  readonly #model;
  /** Told once a message was staged. */
  onStaged: (item: StagedItem) => void = () => {};
  /** What a message was before it was sealed. */
  openBody: (sealed: Uint8Array, pk: string) => string = () => '';
  #sender: Sender | undefined;
  readonly #watchers: ((change: Change, sender: Sender | undefined) => void)[] = [];

  constructor(history: History, nowMs: () => number) {
    this.#history = history;
    this.#nowMs = nowMs;
    const keys = { partitionKey: 'pk', sortKey: 'sk' };
    this.#model = createDynamoModel({
      tables: [
        { name: recordsTable, ...keys, ttlAttribute: 'expiresAt' },
        { name: effectsTable, ...keys },
      ],
      nowMs,
      onChange: (change) => this.#changed(change),
    });
  }

  /** For a workload whose records are of another kind: is told of every change, with the request that made it. */
  watch(watcher: (change: Change, sender: Sender | undefined) => void): void {
    this.#watchers.push(watcher);
  }

  apply(input: object, sender: Sender): Applied {
    return this.#as(sender, input, () => this.#model.apply(sender.commandName, input));
  }

  /** Locks the items of a transaction. Resolves to what ends it, or to the answer where it was refused. */
  prepare(
    input: object,
    sender: Sender,
  ): Applied | { readonly finish: () => Applied; readonly abandon: () => Applied } {
    const { prepared, ...answer } = this.#as(sender, input, () => this.#model.prepare(input));
    if (prepared === undefined) return answer as Applied;
    return {
      finish: () => this.#as(sender, input, () => this.#model.finish(prepared)),
      abandon: () => this.#as(sender, input, () => this.#model.abandon(prepared)),
    };
  }

  item(tableName: string, pk: string, sk: string): Item | undefined {
    const Key = { pk: { S: pk }, sk: { S: sk } };
    return this.#model.apply('GetItem', { TableName: tableName, Key, ConsistentRead: true }).ok?.Item;
  }

  items(tableName: string): readonly Item[] {
    return this.#model.dump(tableName);
  }

  /** Keys of what the records' TTL may delete by now. */
  expirable(): readonly Item[] {
    return this.#model.expirable(recordsTable);
  }

  expire(key: Item): void {
    this.#model.expire(recordsTable, key);
  }

  #as<T>(sender: Sender, input: object, work: () => T): T {
    this.#sender = sender;
    for (const pk of partitionsIn(input)) sender.call?.touched.add(pk);
    try {
      return work();
    } finally {
      this.#sender = undefined;
    }
  }

  #changed(change: Change): void {
    for (const watcher of this.#watchers) watcher(change, this.#sender);
    const { tableName, key, before, after, byTtl } = change;
    if (byTtl) this.#history.reach(`TTL removes a ${textIn(key, 'sk').split('#')[1] ?? 'claim'}`);
    const { call, sentAtClockMs = this.#nowMs(), commandName = 'TTL' } = this.#sender ?? {};
    const history = this.#history;
    const atMs = this.#nowMs();
    const [pk, sk] = [textIn(key, 'pk'), textIn(key, 'sk')];
    if (tableName === effectsTable) {
      const effect = { execution: pk, pk: after ? textIn(after, 'operation') : '', atMs };
      if (sk === 'by' && !before) history.committed.push(effect);
      if (sk === 'reserve' && !before) {
        history.reserved.push({ ...effect, transitions: history.transitions.length });
      }
      return;
    }
    if (sk === 'claim') {
      history.transitions.push({
        ...{ atMs, pk, operation: commandName, call, sentAtClockMs },
        ...{ before: before && claimOf(before), after: after && claimOf(after) },
      });
    } else if (sk === 'sequence') {
      const request = { atMs, operation: commandName, call, sentAtClockMs };
      for (const place of placesChanged(pk, before, after))
        history.transitions.push({ ...request, ...place });
    } else if (sk.includes('#step#')) {
      const status = after && textIn(after, 'status');
      const step = { pk, sk, atMs, isUnavailable: after?.unavailable !== undefined };
      if (status === 'DONE') history.stepsRecorded.push(step);
      if (status === 'STARTED') history.stepsStarted.push(step);
    } else if (sk.includes('#result#') && after) {
      if (sk.endsWith('#0002')) history.reach('an answer in several chunks');
      history.reach('a chunk of an answer');
    } else if (sk.includes('#outbox#') && after && !before) {
      const { body: stored } = after;
      const sealed = (stored as { B?: Uint8Array } | undefined)?.B;
      const item: StagedItem = {
        ...{ pk, sk, atMs, stored },
        destination: textIn(after, 'destination'),
        body: sealed ? this.openBody(sealed, pk) : textIn(after, 'body'),
        groupId: textIn(after, 'groupId'),
        deduplicationId: textIn(after, 'deduplicationId'),
      };
      history.staged.push(item);
      this.onStaged(item);
    }
  }
}

type Fields = Readonly<Record<string, Item>>;

/** Partitions of records that a request names. */
function partitionsIn(input: object): string[] {
  const { TransactItems, ExpressionAttributeValues } = input as {
    TransactItems?: readonly Fields[];
    ExpressionAttributeValues?: Item;
  };
  const actions = TransactItems ? TransactItems.flatMap((item) => Object.values(item)) : [input as Item];
  return actions.flatMap((action) => {
    const { TableName, Key, Item: item } = action as { TableName?: unknown; Key?: Item; Item?: Item };
    if (TableName !== recordsTable) return [];
    const pk = textIn(Key ?? item ?? {}, 'pk') || textIn(ExpressionAttributeValues ?? {}, ':pk');
    return pk === '' ? [] : [pk];
  });
}

const textIn = (item: Item, name: string): string => (item[name] as { S?: string } | undefined)?.S ?? '';
const numberIn = (item: Item, name: string): number => Number((item[name] as { N?: string } | undefined)?.N);

const claimOf = (item: Item): ClaimItem => ({
  status: textIn(item, 'status'),
  owner: textIn(item, 'owner'),
  window: textIn(item, 'window'),
  attempt: numberIn(item, 'attempt'),
  leaseUntilMs: numberIn(item, 'leaseUntil'),
  endsAtMs: numberIn(item, 'endsAt'),
  createdAtMs: numberIn(item, 'createdAt'),
  answer: JSON.stringify([item.data, item.writeId, item.chunks, item.unavailable], inBase64),
});

const inBase64 = (_: string, value: unknown): unknown =>
  value instanceof Uint8Array ? Buffer.from(value).toString('base64') : value;
