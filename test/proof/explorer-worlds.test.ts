/** Every schedule of the small worlds, within what is small enough for each run of the tests. */
import { expect, test } from 'vitest';
import { explore, scheduleText } from './explorer/explore.ts';
import { smallWorlds } from './explorer/worlds/index.ts';

const oneFault = { faults: 1, passes: 1, holds: 0 };
const oneHeld = { faults: 0, passes: 1, holds: 1 };

/** Their schedules with a fault are played on demand: they would take as long as all others together. */
const onDemand: ReadonlySet<string> = new Set(['lane claimed']);

/** A world that has fewer has lost some of its requests or faults. */
const leastSchedules: Readonly<Record<string, number>> = {
  guarded: 600,
  stepped: 5_500,
  committed: 11_000,
  'at commit': 40,
  released: 600,
  expired: 1_200,
  mismatched: 350,
  'lane at commit': 550,
  'lane claimed': 3_500,
  numbered: 600,
  'numbered, two epochs': 550,
  'numbered, two epochs, at commit': 80,
};

test.each(smallWorlds)(
  "the world '$name' keeps every promise in every order",
  { timeout: 600_000 },
  async (small) => {
    let count = 0;
    for (const budget of onDemand.has(small.name) ? [oneHeld] : [oneFault, oneHeld]) {
      const { broken, schedules, states, seconds } = await explore(small, { budget });
      expect(broken && scheduleText(broken, budget)).toBeUndefined();
      count += schedules;
      const { faults, holds } = budget;
      console.log(
        `World '${small.name}', faults ${faults}, holds ${holds}: ${schedules} schedules, ${states} states, ${seconds.toFixed(1)} s`,
      );
    }
    expect(count).toBeGreaterThanOrEqual(leastSchedules[small.name]!);
  },
);
