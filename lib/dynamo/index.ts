/**
 * The store on DynamoDB: items, conditions and transactions, and conditional writes for a handler's own tables.
 * This room decides how a record lies in the table, and by which conditions it changes. It never decides what an outcome means.
 */

export { checkTable } from './check-table.ts';
export { type CompletedStore, completed } from './completed.ts';
export {
  type Created,
  type CreateOnceOptions,
  createOnce,
  type PutEntry,
  type Updated,
  type UpdateEntry,
  type UpdateVersionOptions,
  updateVersion,
} from './natural-writes.ts';
export { numberedStore } from './numbered-store.ts';
export { positionedStore } from './positioned-store.ts';
export { type DynamoStore, type DynamoStoreOptions, dynamoStore } from './store.ts';
