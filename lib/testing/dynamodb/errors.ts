/** DynamoDB's errors, as plain data in the core and as the SDK throws them at its edge. */
import type { Item } from './value.ts';

/** Why one item of a transaction stopped it; `None` where it did not. */
export interface Reason {
  readonly Code: string;
  readonly Message?: string;
  readonly Item?: Item;
}

/** What DynamoDB answers instead of an output. Plain data, so that it can be compared, sent late and sent twice. */
export interface Failure {
  readonly name: string;
  readonly message: string;
  /** What a failed condition met, where that was asked for. */
  readonly Item?: Item;
  readonly CancellationReasons?: readonly Reason[];
}

/** Thrown within the core only; `apply` turns it into data. */
export class Refusal extends Error {
  readonly failure: Failure;

  constructor(failure: Failure) {
    super(failure.message);
    this.failure = failure;
  }
}

export const invalid = (message: string): Refusal => new Refusal({ name: 'ValidationException', message });

const serverFaults: ReadonlySet<string> = new Set([
  'InternalServerError',
  'ServiceUnavailable',
  'TransactionInProgressException',
]);

/**
 * The error that the SDK throws for a failure.
 *
 * @param attempts how often the SDK had sent the request by then
 */
export function sdkError(failure: Failure, attempts = 1): Error {
  const { name, message, ...fields } = structuredClone(failure);
  const isServers = serverFaults.has(name) && name !== 'TransactionInProgressException';
  const error = Object.assign(new Error(message), fields, {
    $fault: isServers ? 'server' : 'client',
    $metadata: { httpStatusCode: isServers ? 500 : 400, attempts, totalRetryDelay: 0 },
  });
  error.name = name;
  return error;
}
