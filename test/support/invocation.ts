import type { Context } from 'aws-lambda';

/**
 * A context as Lambda makes it, of an invocation that has `remainingMs` left, now or as a function tells.
 * `callbackWaitsForEmptyEventLoop` is an accessor on the runtime's own state.
 */
export function lambdaContext(remainingMs: number | (() => number) = 30_000): Context {
  let waits = true;
  return {
    get callbackWaitsForEmptyEventLoop() {
      return waits;
    },
    set callbackWaitsForEmptyEventLoop(value) {
      waits = value;
    },
    functionName: 'orders',
    functionVersion: '$LATEST',
    invokedFunctionArn: 'arn:aws:lambda:eu-west-1:111122223333:function:orders',
    memoryLimitInMB: '128',
    awsRequestId: '00000000-0000-4000-8000-000000000000',
    logGroupName: '/aws/lambda/orders',
    logStreamName: '2026/01/01/[$LATEST]0',
    getRemainingTimeInMillis: typeof remainingMs === 'number' ? () => remainingMs : remainingMs,
    done: () => {},
    fail: () => {},
    succeed: () => {},
  };
}

/**
 * An invocation that Lambda ends after `ms`. Its end is a timer of this process: a busy machine delays it as much as what it is
 * compared with.
 */
export function invocationOf(ms: number): { readonly context: Context; isOver(): boolean } {
  const endsAtMs = Date.now() + ms;
  let isOver = false;
  setTimeout(() => {
    isOver = true;
  }, ms).unref();
  return { context: lambdaContext(() => endsAtMs - Date.now()), isOver: () => isOver };
}
