/** A stream of sales, delivered as Lambda does it: a batch that was not handled comes again, whole, with what has come since. */
import type { KinesisStreamRecord } from 'aws-lambda';
import type { Order } from '../../examples/payment-provider.ts';
import { kinesisEvent } from '../../lib/testing.ts';
import type { Stack } from '../stack/index.ts';

/** The records of `count` sales of one customer, which is their partition key. */
export const salesOf = (order: Order, count: number): readonly KinesisStreamRecord[] =>
  kinesisEvent(...Array.from({ length: count }, () => ({ partitionKey: order.customer, data: order })))
    .Records;

/** Delivers a batch once. Resolves to whether it was handled. */
export async function deliver(
  stack: Stack,
  functionName: string,
  Records: readonly KinesisStreamRecord[],
): Promise<boolean> {
  const invocation = await stack.function(functionName).invoke({ Records });
  if (invocation.outcome !== 'result') return false;
  const { batchItemFailures } = JSON.parse(invocation.payload) as { batchItemFailures: readonly unknown[] };
  return batchItemFailures.length === 0;
}
