/** Time of calls and of batches on DynamoDB Local, alone and at once, near and 5 ms away. */
import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { contenders } from '../contenders.ts';
import { httpRequests, queueEvent } from '../events.ts';
import { type ContenderName, compare, contenderNames, orderIn, type Part, quantile } from '../runner.ts';
import { clientFor, withTables } from '../table.ts';

const ways = [0, 5] as const;

export const latency: Part = {
  name: 'latency',
  title: 'Time on DynamoDB Local',
  run: (bench) =>
    withTables(async ({ endpoint, names }) => {
      const proxy = new Worker(new URL('../delay-proxy.ts', import.meta.url), {
        workerData: { port: Number(new URL(endpoint).port), delayMs: 5 },
      });
      const [port] = (await once(proxy, 'message')) as [number];
      const rows = [];
      const requestOf = httpRequests();
      let keys = 0;
      try {
        for (const delayMs of ways) {
          const client = clientFor(delayMs === 0 ? endpoint : `http://127.0.0.1:${port}`);
          const where = delayMs === 0 ? '' : `, ${delayMs} ms away`;
          const http = {} as Record<ContenderName, ReturnType<(typeof contenders)['peer']['http']>>;
          const batch = {} as Record<ContenderName, ReturnType<(typeof contenders)['peer']['batch']>>;
          for (const name of contenderNames) {
            http[name] = contenders[name].http({ client, tableName: names[name] });
            batch[name] = contenders[name].batch({ client, tableName: names[name] });
            for (let call = 0; call < 30; call++) await http[name](requestOf(`warm-${keys++}`));
          }
          for (const atOnce of [1, 10, 50]) {
            const found = { fresh: lists(), duplicate: lists(), slow: lists(), rate: lists() };
            const [rounds, calls] = bench.quick ? [3, Math.max(10, atOnce)] : [9, Math.max(30, atOnce * 2)];
            for (let round = 0; round < rounds; round++) {
              bench.progress(`${atOnce} at once${where}, round ${round + 1} of ${rounds}`);
              for (const name of orderIn(round)) {
                const first = keys;
                keys += calls;
                const fresh = await timed(calls, atOnce, (call) =>
                  http[name](requestOf(`key-${first + call}`)),
                );
                const again = await timed(calls, atOnce, (call) =>
                  http[name](requestOf(`key-${first + call}`)),
                );
                found.fresh[name].push(quantile(fresh.timesMs, 0.5));
                found.slow[name].push(quantile(fresh.timesMs, 0.95));
                found.duplicate[name].push(quantile(again.timesMs, 0.5));
                found.rate[name].push((calls / fresh.tookMs) * 1_000);
              }
            }
            const how = `${atOnce} at once${where}`;
            rows.push(compare(`fresh, ${how}`, 'ms', found.fresh));
            rows.push(compare(`fresh, ${how}, 95 %`, 'ms', found.slow));
            rows.push(compare(`duplicate, ${how}`, 'ms', found.duplicate));
            rows.push(compare(`fresh, ${how}, a second`, 'calls', found.rate, 'more is better'));
          }
          for (const size of [10, 100]) {
            const times = lists();
            const rounds = bench.quick ? 3 : 15;
            for (let round = 0; round < rounds; round++) {
              bench.progress(`batch of ${size}${where}, round ${round + 1} of ${rounds}`);
              for (const name of orderIn(round)) {
                times[name].push((await timed(1, 1, () => batch[name](queueEvent(size)))).tookMs);
              }
            }
            rows.push(compare(`batch of ${size}${where}`, 'ms', times));
          }
          client.destroy();
        }
        return { rows };
      } finally {
        await proxy.terminate();
      }
    }),
};

const lists = (): Record<ContenderName, number[]> => ({ idemkit: [], peer: [] });

/** Makes `calls` calls, `atOnce` of them under way at any time. */
export async function timed(
  calls: number,
  atOnce: number,
  call: (index: number) => Promise<unknown>,
): Promise<{ readonly timesMs: readonly number[]; readonly tookMs: number }> {
  const timesMs: number[] = [];
  let next = 0;
  const startedAtMs = performance.now();
  const worker = async (): Promise<void> => {
    while (next < calls) {
      const index = next++;
      const beganAtMs = performance.now();
      await call(index);
      timesMs.push(performance.now() - beganAtMs);
    }
  };
  await Promise.all(Array.from({ length: atOnce }, worker));
  return { timesMs, tookMs: performance.now() - startedAtMs };
}
