import type { dynamoStore } from '../../lib/index.ts';
import { completed, numberedStore, type Store } from '../../lib/store.ts';

/** A store on DynamoDB with all parts of the port: what `operation()` and numbered senders bring is there already. */
export const wholeStore = (store: ReturnType<typeof dynamoStore>): Store => ({
  ...completed(store),
  numbered: (place) => completed(numberedStore(store, place)),
});
