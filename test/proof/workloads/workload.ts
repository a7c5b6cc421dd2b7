import type { Auditor } from '../simulation/history.ts';
import type { World } from '../simulation/world.ts';

export interface Workload {
  readonly name: string;
  /** All that it promises. @default what operations with keys promise: `auditors` of auditors/index.ts */
  readonly auditors?: readonly Auditor[];
  /** @param untilQuiet lets everything happen that was planned */
  run(world: World, untilQuiet: () => Promise<void>): Promise<void>;
}
