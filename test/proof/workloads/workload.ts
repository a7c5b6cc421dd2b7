import type { Auditor } from '../simulation/history.ts';
import type { World } from '../simulation/world.ts';

export interface Workload {
  readonly name: string;
  /** What it promises beyond what all do. */
  readonly auditors?: readonly Auditor[];
  /** @param untilQuiet lets everything happen that was planned */
  run(world: World, untilQuiet: () => Promise<void>): Promise<void>;
}
