import { IdempotencyError } from './errors.ts';

// Loads packages that only some users have. Each import is written out, directly inside a `try`: a bundler then takes in a
// package that is installed, and does not fail over one that is missing.

/** @throws `UNSUPPORTED` without `@aws-sdk/client-sqs` */
export async function loadSqs() {
  try {
    return await import('@aws-sdk/client-sqs');
  } catch (cause) {
    throw notLoaded('@aws-sdk/client-sqs', cause);
  }
}

/** @throws `UNSUPPORTED` without `@aws-sdk/client-sns` */
export async function loadSns() {
  try {
    return await import('@aws-sdk/client-sns');
  } catch (cause) {
    throw notLoaded('@aws-sdk/client-sns', cause);
  }
}

/** @throws `UNSUPPORTED` without `@aws-sdk/client-eventbridge` */
export async function loadEventBridge() {
  try {
    return await import('@aws-sdk/client-eventbridge');
  } catch (cause) {
    throw notLoaded('@aws-sdk/client-eventbridge', cause);
  }
}

/** @throws `UNSUPPORTED` without `@aws-sdk/util-dynamodb` */
export async function loadUtilDynamoDb() {
  try {
    return await import('@aws-sdk/util-dynamodb');
  } catch (cause) {
    throw notLoaded('@aws-sdk/util-dynamodb', cause);
  }
}

const notLoaded = (name: string, cause: unknown): IdempotencyError =>
  new IdempotencyError(
    'UNSUPPORTED',
    `${name} cannot be loaded. Install it beside idemkit: npm install ${name}`,
    { cause },
  );
