/** Which functions other constructs take, and what runs when they are called. */
import { type Alias, type IFunction, Function as LambdaFunction, type Version } from 'aws-cdk-lib/aws-lambda';
import type { IdempotentFunction } from './idempotent-function.ts';

/**
 * A function that keeps records: an `IdempotentFunction`, or any other function after `table.protect(fn)`.
 * An alias or a version of it is also taken, for canaries and provisioned concurrency.
 */
export type GuardedFunction = IdempotentFunction | LambdaFunction | Alias | Version;

/** What is `called`, perhaps an alias or a version, and the function that runs then. */
export interface Target {
  readonly called: IFunction;
  readonly fn: LambdaFunction;
}

export function targetOf(guarded: GuardedFunction): Target {
  const called = 'function' in guarded ? guarded.function : guarded;
  const fn = called instanceof LambdaFunction ? called : called.lambda;
  if (!(fn instanceof LambdaFunction)) {
    throw new Error(
      `'${called.node.path}' belongs to a function outside this app, and idemkit cannot look into it: use an alias or a version of a function of this app`,
    );
  }
  return { called, fn };
}
