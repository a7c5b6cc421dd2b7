import type { dynamoStore } from '../../lib/index.ts';
import {
  completed,
  numberedStore,
  type PositionedStore,
  positionedStore,
  type Store,
} from '../../lib/store.ts';

/** A store on DynamoDB with all parts of the port: what `operation()`, numbered senders and lanes bring is there already. */
export const wholeStore = (store: ReturnType<typeof dynamoStore>): Store => ({
  ...completed(store),
  numbered: (place) => completed(numberedStore(store, place)),
  positioned: (place) => completed(positionedStore(store, place) as PositionedStore),
});
