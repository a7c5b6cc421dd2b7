/** The parts of a DynamoDB store that only handlers with steps or transactions need. `operation()` brings them. */
import {
  GetItemCommand,
  PutItemCommand,
  TransactWriteItemsCommand,
  UpdateItemCommand,
} from '@aws-sdk/client-dynamodb';
import { stepSortKeyPrefix } from '../record.ts';
import type { StepStore, StepWritten, Store, TransactionStore } from '../store/index.ts';
import { inDoubt, sendConditional, wasRepeated } from './send.ts';
import { type DynamoStore, explain, isNamed, type Parts, parts, provenTables } from './store.ts';
import { readCancellation, transactionInput } from './transaction.ts';
import { type WorkItems, workItemsOf } from './work-items.ts';

/** A store with the optional parts of the port. */
export type CompletedStore<Base extends Store> = Base & {
  readonly steps: StepStore;
  readonly transactions: TransactionStore;
};

export function completed(store: DynamoStore): CompletedStore<DynamoStore>;
export function completed<Base extends Store>(store: Base): Base;
/**
 * A DynamoDB store with steps and transactions; any other store as it is. `operation()` does that by itself. It is for a wrapper
 * around the parts of a store, and for `storeContract`, which tests the parts that it sees.
 */
export function completed(store: Store): Store {
  const table = (store as Partial<DynamoStore>)[parts];
  if (table === undefined || (store.steps && store.transactions)) return store;
  const items = table.workItems?.() ?? workItemsOf(table.items);
  return { steps: stepsOf(table, items), transactions: transactionsOf(table, items), ...store };
}

function stepsOf({ client, query, failed }: Parts, items: WorkItems): StepStore {
  const writeStep = (command: object, action: string): Promise<StepWritten> =>
    sendConditional(client, command, (sent) => {
      if (sent.outcome === 'failed') throw failed(sent, action);
      return sent.outcome === 'applied'
        ? { outcome: 'applied' }
        : { outcome: 'stopped', found: sent.found && items.readStep(sent.found) };
    });

  return {
    put: (step) => writeStep(new PutItemCommand(items.step(step)), 'dynamodb:PutItem'),

    finish: (step) => writeStep(new UpdateItemCommand(items.stepEnd(step)), 'dynamodb:UpdateItem'),

    async read({ pk, window }) {
      const found = await query(pk, stepSortKeyPrefix(window));
      return found.map((item) => items.readStep(item));
    },
  };
}

function transactionsOf(table: Parts, items: WorkItems): TransactionStore {
  const { tableName, names, client, place, storeAnswer } = table;
  /** DynamoDB does not say whose item it refused: the handler's, or ours because the table has other keys. */
  const refuseWrongKeys = async (pk: string): Promise<void> => {
    const key = { TableName: tableName, Key: items.keyOf(pk) };
    const refused = await client.send(new GetItemCommand(key)).then(
      () => undefined,
      (error: unknown) => error,
    );
    if (isNamed(refused, 'ValidationException')) throw explain(refused, tableName, names, 'dynamodb:GetItem');
  };

  return {
    async build(request) {
      const isProven = provenTables.has(place);
      const input = await transactionInput(request, items, storeAnswer, client, isProven);
      return {
        async send() {
          try {
            await client.send(new TransactWriteItemsCommand(input));
            if (request.claim.kind === 'record') provenTables.add(place);
            return { outcome: 'applied' };
          } catch (error) {
            if (isNamed(error, 'ValidationException')) await refuseWrongKeys(request.pk);
            const cancelled = await readCancellation(error, request, input, items, client);
            if (cancelled) return cancelled;
            throw inDoubt(
              wasRepeated(error),
              explain(error, tableName, names, 'dynamodb:TransactWriteItems'),
            );
          }
        },
      };
    },
  };
}
