import { inspect } from 'node:util';
import { DynamoDBClient } from '@aws-sdk/client-dynamodb';
import { startDynamoDb } from '../../../local/aws/dynamodb.ts';
import { compareCourse, createTables } from './compare.ts';

/**
 * Compares the model with DynamoDB Local on `requests` random requests at least, and prints what differs.
 *
 * @returns whether nothing did
 */
export async function runComparison(requests: number, firstSeed: number): Promise<boolean> {
  const server = await startDynamoDb();
  const startedAtMs = performance.now();
  try {
    const credentials = { accessKeyId: 'local', secretAccessKey: 'local' };
    const client = new DynamoDBClient({ endpoint: server.endpoint, region: 'eu-west-1', credentials });
    const names = await createTables(client, 'model');
    let sent = 0;
    for (let seed = firstSeed; sent < requests; seed++) {
      const comparison = await compareCourse(client, names, seed);
      sent += comparison.requests;
      for (const difference of comparison.differences) {
        console.log(inspect(difference, { depth: 12, breakLength: 140 }));
        console.log(`Again: npm run proof -- --compare 1 --seed ${seed}`);
        return false;
      }
    }
    const seconds = ((performance.now() - startedAtMs) / 1000).toFixed(1);
    console.log(`${sent} requests, each answered alike by the model and by DynamoDB Local, ${seconds} s`);
    return true;
  } finally {
    await server.stop();
  }
}
