/** Whether the heap grows with the number of calls that a process has seen. */
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { contenders } from '../contenders.ts';
import { httpRequests, queueEvent } from '../events.ts';
import { type ContenderName, contenderNames, counted, exactly, type Part } from '../runner.ts';
import { stubClient } from '../stub-client.ts';

setFlagsFromString('--expose-gc');
const collectGarbage: () => void = runInNewContext('gc');

function heapBytes(): number {
  collectGarbage();
  return process.memoryUsage().heapUsed;
}

export const memory: Part = {
  name: 'memory',
  title: 'Heap after calls, without the SDK',
  async run(bench) {
    const operations = bench.quick ? 10_000 : 100_000;
    const requestOf = httpRequests();
    const points: Record<ContenderName, [number, number][]> = { idemkit: [], peer: [] };
    const grown = {} as Record<ContenderName, number>;
    const peakMegabytes = {} as Record<ContenderName, number>;
    const batchSize = bench.quick ? 1_000 : 10_000;
    for (const name of contenderNames) {
      const guarded = contenders[name].http({ client: stubClient().client });
      const step = operations / 10;
      for (let call = 0; call < step; call++) await guarded(requestOf(`warm-${call}`));
      const first = heapBytes();
      for (let done = 0; done < operations; done += step) {
        bench.progress(`${name}, ${done} of ${operations} operations`);
        for (let call = 0; call < step; call++) await guarded(requestOf(`key-${done + call}`));
        points[name].push([done + step, (heapBytes() - first) / 1_000]);
      }
      grown[name] = (points[name].at(-1)?.[1] ?? Number.NaN) * 1_000;

      const batch = contenders[name].batch({ client: stubClient().client });
      const event = queueEvent(batchSize);
      const before = heapBytes();
      let peak = before;
      const watch = setInterval(() => {
        peak = Math.max(peak, process.memoryUsage().heapUsed);
      }, 1);
      await batch(event);
      clearInterval(watch);
      peakMegabytes[name] = (Math.max(peak, process.memoryUsage().heapUsed) - before) / 1_000_000;
    }
    return {
      rows: [
        {
          what: `heap kept, for each of ${operations} operations`,
          unit: 'B',
          // Both are about nothing, so that their ratio says nothing.
          idemkit: exactly(grown.idemkit / operations),
          peer: exactly(grown.peer / operations),
        },
        counted(`peak of heap over a batch of ${batchSize}`, 'MB', peakMegabytes.idemkit, peakMegabytes.peer),
      ],
      charts: [
        {
          name: 'memory',
          title: 'Growth of the heap over operations',
          x: { title: 'operations', scale: 'linear' as const },
          y: { title: 'KB', scale: 'linear' as const },
          lines: contenderNames.map((name) => ({ name, points: points[name] })),
        },
      ],
    };
  },
};
