/**
 * DynamoDB as a value: a synchronous core that evaluates the very requests that idemkit sends, for simulations that decide themselves
 * when a request arrives, whether its answer does, and what time it is. It never acts by itself and never waits.
 *
 * `createDynamoModel({ tables, nowMs })` makes one; `apply(commandName, input)` is `{ ok: output }` or `{ error }`, plain data both;
 * `sdkError(error, attempts)` is what the SDK would throw of it; `modelClient(model)` is a client for `dynamoStore`.
 */

export { sdkError } from '../../../lib/testing/dynamodb/errors.ts';
export type { Item, Value } from '../../../lib/testing/dynamodb/values.ts';
export { modelClient } from './client.ts';
export { type Applied, type Change, createDynamoModel } from './model.ts';
