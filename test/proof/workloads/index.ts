/** What is done in a run. A protocol of its own joins with a workload, and brings the auditors that read its promise. */
import { callsOf } from './calls.ts';
import { levels } from './levels.ts';
import { numberedSenders } from './numbered.ts';
import { queues } from './queues.ts';
import { streams } from './streams.ts';
import type { Workload } from './workload.ts';

export type { Workload } from './workload.ts';

export const workloads: readonly Workload[] = [
  ...levels.map(callsOf),
  ...queues,
  ...streams,
  ...numberedSenders,
];
