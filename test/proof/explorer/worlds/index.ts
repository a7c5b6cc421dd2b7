/** The small worlds. A protocol of its own joins with a file of its own. */
import type { SmallWorld } from '../small-world.ts';
import { guarded } from './guarded.ts';

export const smallWorlds: readonly SmallWorld[] = [guarded];
