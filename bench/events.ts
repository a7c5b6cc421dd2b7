/** Events and contexts, as Lambda makes them anew for every invocation. */
import { randomUUID } from 'node:crypto';
import type { Context, SQSEvent, SQSRecord } from 'aws-lambda';
import { httpEventV2, sqsEvent } from '../lib/testing.ts';

export interface HttpRequestEvent {
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: string;
}

/** What a function that is called directly is given. */
export interface Order {
  readonly id: string;
  readonly customer: string;
  readonly lines: readonly { readonly sku: string; readonly count: number }[];
}

/** A context with the members of Lambda's, of which one is an accessor. */
export function lambdaContext(): Context {
  let waits = true;
  const deadlineMs = Date.now() + 30_000;
  return {
    get callbackWaitsForEmptyEventLoop() {
      return waits;
    },
    set callbackWaitsForEmptyEventLoop(value: boolean) {
      waits = value;
    },
    succeed: () => {},
    fail: () => {},
    done: () => {},
    functionVersion: '$LATEST',
    functionName: 'bench',
    memoryLimitInMB: '1024',
    logGroupName: '/aws/lambda/bench',
    logStreamName: '2026/01/01/[$LATEST]0123456789abcdef',
    invokedFunctionArn: 'arn:aws:lambda:eu-west-1:123456789012:function:bench',
    awsRequestId: '01234567-89ab-4def-8123-456789abcdef',
    getRemainingTimeInMillis: () => deadlineMs - Date.now(),
  };
}

const order = {
  customer: 'customer-4711',
  currency: 'EUR',
  amount: 4_200,
  lines: [
    { sku: 'book-1', count: 1, price: 2_100 },
    { sku: 'book-2', count: 3, price: 700 },
  ],
  address: { name: 'A. Customer', street: '1 Long Street', city: 'Lisbon', country: 'PT' },
};

/** Requests to an HTTP API that differ in their key only. */
export function httpRequests(body: unknown = order): (key: string) => HttpRequestEvent {
  const event = httpEventV2({
    path: '/payments',
    headers: {
      accept: 'application/json',
      host: 'api.example.com',
      'x-forwarded-for': '192.0.2.1',
      'x-forwarded-port': '443',
      'x-forwarded-proto': 'https',
    },
    body,
  });
  return (key) => ({ ...event, headers: { ...event.headers, 'idempotency-key': key } }) as HttpRequestEvent;
}

export const orderOf = (id: string): Order => ({
  id,
  customer: 'customer-4711',
  lines: [
    { sku: 'book-1', count: 1 },
    { sku: 'book-2', count: 3 },
  ],
});

const message = sqsEvent({ body: order }).Records[0] as SQSRecord;

/** A batch of new messages. */
export const queueEvent = (size: number): SQSEvent => ({
  Records: Array.from({ length: size }, () => ({ ...message, messageId: randomUUID() })),
});
