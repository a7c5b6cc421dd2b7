/** A DynamoDB store's view of one lane. `eachPartition` brings it. */
import { GetItemCommand, UpdateItemCommand } from '@aws-sdk/client-dynamodb';
import { IdempotencyError } from '../errors.ts';
import { laneAttribute } from '../record.ts';
import type {
  ClaimRecord,
  ClaimWritten,
  LanePlace,
  PositionedStore,
  Store,
  Written,
} from '../store/index.ts';
import type { Item } from './items.ts';
import { type PositionItems, positionItemsOf } from './position-items.ts';
import { type Sent, sendConditional } from './send.ts';
import { type DynamoStore, type Parts, parts } from './store.ts';

type Update = Omit<ReturnType<PositionItems['leaseEnd']>, 'ExpressionAttributeNames'> & {
  readonly ExpressionAttributeNames: Record<string, string>;
};

/**
 * The store as it stands for the records of one lane; `undefined` for a store that keeps no positions. `eachPartition` makes it
 * by itself. It is for a wrapper around the parts of a store.
 */
export function positionedStore(store: Store, place: LanePlace): PositionedStore | undefined {
  if (store.positioned) return store.positioned(place);
  const table = (store as Partial<DynamoStore>)[parts];
  if (table) refuseNames(table);
  return table && viewOf(store as DynamoStore, table, place);
}

/** The names of a table's own keys are free; those of the lane's item are not. */
function refuseNames({ names }: Parts): void {
  const own: readonly string[] = Object.values(laneAttribute);
  for (const [option, name] of [
    ['partitionKey', names.pk],
    ['sortKey', names.sk],
    ['ttlAttribute', names.ttl],
  ] as const) {
    if (!own.includes(name)) continue;
    throw new IdempotencyError(
      'BAD_OPTION',
      `Option \`${option}\` is '${name}', which the item of a lane has for itself. Give the table another name for it.`,
    );
  }
}

function viewOf(store: DynamoStore, table: Parts, place: LanePlace): PositionedStore {
  const { client, tableName } = table;
  /** The lane's item, as the last verb has found or left it. */
  let seen: Item | undefined;
  const plain = positionItemsOf(table.items, place, () => seen && plain.reachIn(seen));
  const items: PositionItems = {
    ...plain,
    // A transaction that was cancelled shows the item as well.
    readClaim(item) {
      seen = item;
      return plain.readClaim(item);
    },
  };

  const update = <Outcome>(input: Update, read: (sent: Sent) => Outcome): Promise<Outcome> =>
    sendConditional(client, new UpdateItemCommand({ ...input, ReturnValues: 'ALL_NEW' }), read);
  const written = (
    sent: Exclude<Sent, { outcome: 'failed' }>,
    read: (item: Item) => ClaimRecord,
  ): Written => {
    seen = sent.outcome === 'applied' ? sent.attributes : sent.found;
    return sent.outcome === 'applied'
      ? { outcome: 'applied' }
      : { outcome: 'stopped', found: seen && read(seen) };
  };
  const writeClaim = (input: Update): Promise<ClaimWritten> =>
    update(input, (sent) => {
      if (sent.outcome !== 'failed') return written(sent, plain.readClaim);
      if (sent.isConflict) return { outcome: 'blocked', isRepeat: sent.isRepeat };
      throw table.failed(sent, 'dynamodb:UpdateItem');
    });
  const write = (input: Update, read: (item: Item) => ClaimRecord = plain.readClaim): Promise<Written> =>
    update(input, (sent) => {
      if (sent.outcome === 'failed') throw table.failed(sent, 'dynamodb:UpdateItem');
      return written(sent, read);
    });
  const ofOthers = (owner: string) => (item: Item) => plain.readOvertaken(item, owner);

  const read = async (pk: string): Promise<ClaimRecord | undefined> => {
    const get = new GetItemCommand({ TableName: tableName, Key: plain.keyOf(pk), ConsistentRead: true });
    const { Item } = await client.send(get).catch((failure: unknown) => {
      const sent = { outcome: 'failed', failure, isConflict: false, isRepeat: false } as const;
      throw table.failed(sent, 'dynamodb:GetItem');
    });
    seen = Item;
    return Item && plain.readClaim(Item);
  };

  return {
    id: store.id,
    maxAnswerBytes: store.maxAnswerBytes,
    ...(store.seal && { seal: store.seal }),
    ...(store.clock && { clock: store.clock }),
    position: () => seen && plain.positionIn(seen),

    claim: (claim) => writeClaim(plain.claim(claim)),
    takeOver: (takeover) => writeClaim(plain.takeover(takeover)),
    complete: (completion) => write(plain.completion(completion), ofOthers(completion.owner)),
    claimCompleted: (claim, completion) => write(plain.completedClaim(claim, completion)),
    giveBack: (claim) => write(plain.release(claim), ofOthers(claim.owner)),
    endLease: (claim) => write(plain.leaseEnd(claim), ofOthers(claim.owner)),
    read,
    // A lane stores no answers.
    amend: async ({ pk }) => ({ outcome: 'stopped', found: await read(pk) }),

    [parts]: { ...table, items },
  } as PositionedStore;
}
