/**
 * The store on DynamoDB: items, conditions, transactions. It decides how a record lies in the table, and never what an outcome means.
 */
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
export { type DynamoStore, type DynamoStoreOptions, dynamoStore } from './store.ts';
