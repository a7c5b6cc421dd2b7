import type { TestProject } from 'vitest/node';
import { type DynamoDbServer, startDynamoDb } from '../../local/aws/dynamodb.ts';

declare module 'vitest' {
  export interface ProvidedContext {
    /** Absent when DynamoDB Local could not be started; `dynamodbError` says why. */
    dynamodbEndpoint: string | undefined;
    dynamodbError: string | undefined;
  }
}

/**
 * Starts one DynamoDB for the whole run. Without it (no Java, no network) the run goes on: tests that ask for
 * the endpoint fail with the reason, all others still say what they have to say.
 */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  let server: DynamoDbServer | undefined;
  let problem: string | undefined;
  try {
    server = await startDynamoDb();
  } catch (error) {
    problem = error instanceof Error ? error.message : String(error);
  }
  project.provide('dynamodbEndpoint', server?.endpoint);
  project.provide('dynamodbError', problem);
  return async () => server?.stop();
}
