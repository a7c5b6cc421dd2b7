/** Bodies from 1 KB to 1 MB: what recognising a repeat costs beside parsing and hashing, the least that it can be. */
import { createHash } from 'node:crypto';
import { contenders } from '../contenders.ts';
import { httpRequests } from '../events.ts';
import { type ContenderName, compare, contenderNames, cpuMicrosecondsPer, type Part } from '../runner.ts';
import { stubClient } from '../stub-client.ts';
import { invoice } from './units.ts';

export const payloads: Part = {
  name: 'payloads',
  title: 'Own CPU of a cached duplicate, by the size of its JSON body',
  async run(bench) {
    const rows = [];
    const points = { idemkit: [], peer: [], bare: [] } as Record<ContenderName | 'bare', [number, number][]>;
    for (const kilobytes of [1, 10, 100, 1_000]) {
      const body = invoice(kilobytes * 1_000);
      const event = httpRequests(body)('key');
      const calls = Math.ceil((bench.quick ? 200 : 1_000) / kilobytes);
      const work: Record<string, () => Promise<unknown>> = {
        bare: async () => [JSON.parse(body), createHash('sha256').update(body).digest()],
      };
      for (const name of contenderNames) {
        const stub = stubClient();
        const guarded = contenders[name].http({ client: stub.client, cache: true });
        stub.remembers = true;
        await guarded(event);
        work[name] = () => guarded(event);
      }
      const samples: Record<string, number[]> = { idemkit: [], peer: [], bare: [] };
      const [warmUp, rounds] = bench.quick ? [1, 4] : [3, 15];
      for (let round = 0; round < warmUp + rounds; round++) {
        bench.progress(`${kilobytes} KB, round ${round + 1} of ${warmUp + rounds}`);
        for (const [name, call] of Object.entries(work)) {
          const sample = await cpuMicrosecondsPer(calls, call);
          if (round >= warmUp) samples[name]?.push(sample);
        }
      }
      const { idemkit = [], peer = [], bare = [] } = samples;
      rows.push(
        compare(`${kilobytes} KB`, 'µs', { idemkit, peer }),
        compare(
          `${kilobytes} KB, beside JSON.parse and SHA-256`,
          'µs',
          { idemkit, peer: bare },
          'the second figure is of these two alone',
        ),
      );
      for (const name of ['idemkit', 'peer', 'bare'] as const) {
        const middle = [...(samples[name] ?? [])].sort((left, right) => left - right);
        points[name].push([kilobytes, middle[Math.floor(middle.length / 2)] ?? Number.NaN]);
      }
    }
    return {
      rows,
      charts: [
        {
          name: 'payloads',
          title: 'Own CPU of a cached duplicate, by the size of its body',
          x: { title: 'body, KB', scale: 'logarithmic' as const },
          y: { title: 'µs', scale: 'logarithmic' as const },
          lines: [
            { name: 'idemkit', points: points.idemkit },
            { name: 'peer', points: points.peer },
            { name: 'parse and hash alone', points: points.bare },
          ],
        },
      ],
    };
  },
};
