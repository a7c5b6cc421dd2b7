/** The store for one operation of a numbered sender. Who numbers operations brings it; a plain guard does not carry it. */
import { GetItemCommand, UpdateItemCommand } from '@aws-sdk/client-dynamodb';
import { IdempotencyError } from '../errors.ts';
import { sequenceAttribute } from '../record.ts';
import {
  type ClaimRecord,
  type ClaimWritten,
  type Completion,
  metByClaim,
  metByOwner,
  type SequencePlace,
  type Store,
  type TransactionRequest,
  type Written,
} from '../store/index.ts';
import type { Item } from './items.ts';
import { inDoubt, type Sent, sendConditional } from './send.ts';
import { type SequenceItems, sequenceItemsOf } from './sequence-items.ts';
import { type DynamoStore, explain, type Parts, parts } from './store.ts';
import { type WorkItems, workItemsOf } from './work-items.ts';

/** A larger answer lies in items of its own: every request of a sender is priced by its whole item, with all five answers. */
const inlineBytes = 512;

/**
 * The store as it stands for one operation of a sender that numbers what it sends. `numbered()` makes it by itself. It is for a
 * wrapper around the parts of a store.
 *
 * @throws `UNSUPPORTED` where the store does not keep numbered senders
 */
export function numberedStore(store: Store, place: SequencePlace): Store {
  if (store.numbered) return store.numbered(place);
  const table = (store as Partial<DynamoStore>)[parts];
  if (table) return onTable(store, table, place);
  throw new IdempotencyError(
    'UNSUPPORTED',
    `Numbered senders need a store with \`numbered\`, and ${store.id} has none. Give a key instead, or use dynamoStore().`,
  );
}

function onTable(store: Store, table: Parts, place: SequencePlace): Store {
  const { client, names, tableName, failed } = table;
  refuseNames(table);
  const items = sequenceItemsOf(table, place);
  const metBy = (claimed: boolean, pk: string, item: Item | undefined): ClaimRecord | undefined => {
    const met = items.place(pk, item);
    return claimed ? metByClaim(met) : metByOwner(met, pk);
  };
  const send = <Outcome>(
    input: ReturnType<SequenceItems['claim']>,
    read: (sent: Sent) => Outcome,
  ): Promise<Outcome> => sendConditional(client, new UpdateItemCommand(input), read);
  const action = 'dynamodb:UpdateItem';
  const writeOwned = (pk: string, input: ReturnType<SequenceItems['claim']>): Promise<Written> =>
    send(input, (sent) => {
      if (sent.outcome === 'failed') throw failed(sent, action);
      return sent.outcome === 'applied'
        ? { outcome: 'applied' }
        : { outcome: 'stopped', found: metBy(false, pk, sent.found) };
    });
  /** A claim or a takeover: whoever is in its way is at work on the sender. */
  const writeClaim = (pk: string, input: ReturnType<SequenceItems['claim']>): Promise<ClaimWritten> =>
    send(input, (sent) => {
      if (sent.outcome === 'applied') return { outcome: 'applied' };
      if (sent.outcome === 'stopped') return { outcome: 'stopped', found: metBy(true, pk, sent.found) };
      if (sent.isConflict) return { outcome: 'blocked', isRepeat: sent.isRepeat };
      throw failed(sent, action);
    });
  const storeAnswer = (completion: Completion) => table.storeAnswer(completion, inlineBytes);
  const { steps: _, transactions: __, ...plain } = store;

  return {
    ...plain,

    claim: (claim) => writeClaim(claim.pk, items.claim(claim)),

    takeOver: (takeover) => writeClaim(takeover.pk, items.takeover(takeover)),

    async complete(completion) {
      return writeOwned(completion.pk, items.completion(completion, await storeAnswer(completion)));
    },

    async claimCompleted(claim, completion) {
      const input = items.completedClaim(claim, completion, await storeAnswer(completion));
      return send(input, (sent) => {
        if (sent.outcome === 'applied') return { outcome: 'applied' };
        if (sent.outcome === 'failed') throw failed(sent, action);
        return { outcome: 'stopped', found: unlessRepeated(sent, () => metBy(true, claim.pk, sent.found)) };
      });
    },

    async amend(completion) {
      return writeOwned(completion.pk, items.amendment(completion, await storeAnswer(completion)));
    },

    giveBack: (claim) => writeOwned(claim.pk, items.release(claim)),

    endLease: (claim) => writeOwned(claim.pk, items.leaseEnd(claim)),

    async read(pk) {
      const key = { TableName: tableName, Key: items.key, ConsistentRead: true };
      const answer: { Item?: Item } = await client.send(new GetItemCommand(key)).catch((error: unknown) => {
        throw explain(error, tableName, names, 'dynamodb:GetItem');
      });
      return metBy(true, pk, answer.Item);
    },

    [parts]: { ...table, storeAnswer, workItems: () => workItemsOn(table, items, metBy) } satisfies Parts,
  } as Store;
}

/** A refusal says that nothing was done. Of a request that was sent before, an earlier sending may have been applied. */
function unlessRepeated<T>({ isRepeat }: { readonly isRepeat: boolean }, work: () => T): T {
  try {
    return work();
  } catch (error) {
    throw IdempotencyError.is(error) ? inDoubt(isRepeat, error) : error;
  }
}

/** What transactions write: their steps and messages as ever, their claim in the sender's item. */
const workItemsOn = (
  table: Parts,
  items: SequenceItems,
  metBy: (claimed: boolean, pk: string, item: Item | undefined) => ClaimRecord | undefined,
): WorkItems => ({
  ...workItemsOf(table.items),
  ownership: items.ownership,
  completion: items.completion,
  recorded: (claim, completion, answer) => ({ Update: items.completedClaim(claim, completion, answer) }),
  metBy: ({ claim, pk }: TransactionRequest, item, isRepeat) =>
    unlessRepeated({ isRepeat }, () => metBy(claim.kind === 'record', pk, item)),
});

/** The names of a table's own keys are free; those of the sender's item are not. */
function refuseNames({ names }: Parts): void {
  const own = Object.values(sequenceAttribute);
  for (const [option, name] of [
    ['partitionKey', names.pk],
    ['sortKey', names.sk],
    ['ttlAttribute', names.ttl],
  ] as const) {
    if (!own.some((taken) => name === taken || /^record[0-5]$/.test(name))) continue;
    throw new IdempotencyError(
      'BAD_OPTION',
      `Option \`${option}\` is '${name}', which the item of a numbered sender has for itself. Give the table another name for it.`,
    );
  }
}
