/** What is done in a run. A protocol of its own joins with a workload, and brings the auditors that read its promise. */
import type { Chance } from '../../../lib/simulate/time/chance.ts';
import { callsOf } from './calls.ts';
import { lanes } from './lanes.ts';
import { levels } from './levels.ts';
import { numberedSenders } from './numbered.ts';
import { queues } from './queues.ts';
import { streams } from './streams.ts';
import type { Workload } from './workload.ts';

export type { Workload } from './workload.ts';

const drawn: readonly Workload[] = [...levels.map(callsOf), ...queues, ...streams, ...numberedSenders];

export const workloads: readonly Workload[] = [...drawn, ...lanes];

/** Each sixteenth seed is of lanes, so that what the others do is as it was before lanes had joined. */
export function workloadOf(seed: number, chance: Chance): Workload {
  const ofLanes = seed % 16 === 6 ? lanes[Math.floor(seed / 16) % lanes.length] : undefined;
  return ofLanes ?? chance.pick('workload', drawn);
}
