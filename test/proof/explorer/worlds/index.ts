/** The small worlds. A protocol of its own joins with a file of its own. */
import type { SmallWorld } from '../small-world.ts';
import { atCommit, committed } from './committed.ts';
import { expired } from './expired.ts';
import { guarded } from './guarded.ts';
import { laneAtCommit, laneClaimed } from './lanes.ts';
import { mismatched } from './mismatched.ts';
import { numberedAtCommit, numberedEpochs, numberedTwice } from './numbered.ts';
import { released } from './released.ts';
import { stepped } from './stepped.ts';

export const smallWorlds: readonly SmallWorld[] = [
  guarded,
  stepped,
  committed,
  atCommit,
  released,
  expired,
  mismatched,
  laneAtCommit,
  laneClaimed,
  numberedTwice,
  numberedEpochs,
  numberedAtCommit,
];
