/** Whether a call costs more in a larger table, in a larger batch, beside more others, or on a hot key. */
import { BatchWriteItemCommand } from '@aws-sdk/client-dynamodb';
import { contenders } from '../contenders.ts';
import { httpRequests, queueEvent } from '../events.ts';
import {
  type Bench,
  type Chart,
  type ContenderName,
  compare,
  contenderNames,
  counted,
  cpuMicrosecondsPer,
  inTurn,
  median,
  type Part,
  type Row,
  type Samples,
} from '../runner.ts';
import { stubClient } from '../stub-client.ts';
import { type Tables, withTables } from '../table.ts';
import { timed } from './latency.ts';

const requestOf = httpRequests();
type Points = Record<ContenderName, [number, number][]>;
const noPoints = (): Points => ({ idemkit: [], peer: [] });
let keys = 0;

const chartOf = (name: string, title: string, x: string, y: string, points: Points): Chart => ({
  name,
  title,
  x: { title: x, scale: 'logarithmic' },
  y: { title: y, scale: 'linear' },
  lines: contenderNames.map((contender) => ({ name: contender, points: points[contender] })),
});

function note(points: Points, x: number, samples: Samples): void {
  for (const name of contenderNames) points[name].push([x, median(samples[name])]);
}

async function byBatch(bench: Bench, rows: Row[]): Promise<Chart> {
  const points = noPoints();
  for (const size of bench.quick ? [1, 10, 100, 1_000] : [1, 10, 100, 1_000, 10_000]) {
    const calls = Math.ceil(300 / size);
    const samples = await inTurn(bench.quick ? 3 : 9, async (name, round) => {
      bench.progress(`batch of ${size}, round ${round + 1}`);
      const guarded = contenders[name].batch({ client: stubClient().client });
      return (await cpuMicrosecondsPer(calls, () => guarded(queueEvent(size)))) / size;
    });
    note(points, size, samples);
    rows.push(compare(`CPU of a record, batch of ${size}`, 'µs', samples));
  }
  return chartOf('batch-size', 'Own CPU of a record, by the size of its batch', 'records', 'µs', points);
}

async function byConcurrency(bench: Bench, rows: Row[]): Promise<Chart> {
  const points = noPoints();
  for (const atOnce of [1, 10, 100, 1_000]) {
    const samples = await inTurn(bench.quick ? 3 : 9, async (name, round) => {
      bench.progress(`${atOnce} at once, round ${round + 1}`);
      const guarded = contenders[name].http({ client: stubClient().client });
      const calls = Math.max(300, atOnce);
      const all = () => timed(calls, atOnce, () => guarded(requestOf(`key-${keys++}`)));
      return (await cpuMicrosecondsPer(1, all)) / calls;
    });
    note(points, atOnce, samples);
    rows.push(compare(`CPU of a call, ${atOnce} at once`, 'µs', samples));
  }
  return chartOf('at-once', 'Own CPU of a call, by how many are under way', 'calls at once', 'µs', points);
}

async function byTable({ client, names }: Tables, bench: Bench, rows: Row[]): Promise<Chart> {
  const points = noPoints();
  let filled = 0;
  for (const size of bench.quick ? [100, 1_000] : [100, 1_000, 10_000, 50_000]) {
    for (; filled < size; filled += 25) {
      if (filled % 1_000 === 0) bench.progress(`table of ${size}, ${filled} filled`);
      const items = Array.from({ length: 25 }, (_, index) => `filler-${filled + index}`);
      const puts = {
        [names.idemkit]: items.map((id) => ({ PutRequest: { Item: { pk: { S: id }, sk: { S: 'claim' } } } })),
        [names.peer]: items.map((id) => ({ PutRequest: { Item: { id: { S: id } } } })),
      };
      await Promise.all(
        Object.entries(puts).map(([table, RequestItems]) =>
          client.send(new BatchWriteItemCommand({ RequestItems: { [table]: RequestItems } })),
        ),
      );
    }
    const samples = await inTurn(bench.quick ? 4 : 10, async (name, round) => {
      bench.progress(`table of ${size}, round ${round + 1}`);
      const guarded = contenders[name].http({ client, tableName: names[name] });
      const { timesMs } = await timed(20, 1, () => guarded(requestOf(`key-${keys++}`)));
      return median(timesMs);
    });
    note(points, size, samples);
    rows.push(compare(`fresh call, table of ${size} items`, 'ms', samples));
  }
  return chartOf('table-size', 'Time of a fresh call, by the size of its table', 'items', 'ms', points);
}

/** One runs. The others are refused, as long as it does. */
async function byHotKey({ client, names }: Tables, bench: Bench, rows: Row[]): Promise<Chart> {
  const points = noPoints();
  for (const duplicates of [10, 100, 1_000]) {
    const runs: Record<ContenderName, number> = { idemkit: 0, peer: 0 };
    const rounds = bench.quick ? 1 : 5;
    const samples = await inTurn(rounds, async (name, round) => {
      bench.progress(`${duplicates} duplicates at once, round ${round + 1}`);
      const answer = () => {
        runs[name]++;
        return { statusCode: 201, body: '{}' };
      };
      const guarded = contenders[name].http({ client, tableName: names[name], answer });
      const key = `hot-${keys++}`;
      // The peer throws where idemkit answers with a 409.
      const call = () => guarded(requestOf(key)).catch(() => undefined);
      return (await timed(duplicates, duplicates, call)).tookMs / duplicates;
    });
    note(points, duplicates, samples);
    rows.push(compare(`one of ${duplicates} duplicates at once`, 'ms', samples));
    rows.push(counted(`runs of ${duplicates} duplicates`, '', runs.idemkit / rounds, runs.peer / rounds));
  }
  return chartOf('hot-key', 'Time for each duplicate of a hot key', 'duplicates at once', 'ms', points);
}

export const scale: Part = {
  name: 'scale',
  title: 'Cost by size: batches, calls at once, table, hot key',
  async run(bench) {
    const rows: Row[] = [];
    const charts = [await byBatch(bench, rows), await byConcurrency(bench, rows)];
    await withTables(async (tables) => {
      charts.push(await byTable(tables, bench, rows), await byHotKey(tables, bench, rows));
    });
    return { rows, charts };
  },
};
