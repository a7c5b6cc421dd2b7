import { DynamoDBClient } from '@aws-sdk/client-dynamodb';
import { createTable } from '../../local/aws/dynamodb-tables.ts';
import { startFaultProxy } from '../../local/faults/index.ts';
import { contenders } from './contenders.ts';
import { scenarios } from './scenarios.ts';
import { type Counted, resetClock, Stage } from './stage.ts';

export interface Row {
  readonly scenario: string;
  /** What one clean call of each operation leaves. */
  readonly cleanEffects: number;
  readonly idemkit: Counted;
  readonly peer: Counted;
}

/** Plays all scenarios with all guards on a DynamoDB, in one run. */
export async function countEffects(endpoint: string): Promise<Row[]> {
  const client = new DynamoDBClient({
    endpoint,
    region: 'eu-west-1',
    credentials: { accessKeyId: 'local', secretAccessKey: 'local' },
  });
  const proxy = await startFaultProxy(endpoint);
  const tables = [];
  try {
    for (const { table } of contenders) tables.push(await createTable(client, table));
    const rows: Row[] = [];
    for (const { name: scenario, operations: cleanEffects = 1, play } of scenarios) {
      const counted: Partial<Record<'idemkit' | 'peer', Counted>> = {};
      for (const contender of contenders) {
        const stage = new Stage(contender, proxy);
        try {
          await play(stage);
        } finally {
          proxy.reset();
          resetClock();
          counted[contender.name] = stage.end();
        }
      }
      rows.push({ scenario, cleanEffects, ...(counted as Record<'idemkit' | 'peer', Counted>) });
    }
    return rows;
  } finally {
    await Promise.all(tables.map((table) => table.remove()));
    await proxy.stop();
    client.destroy();
  }
}
