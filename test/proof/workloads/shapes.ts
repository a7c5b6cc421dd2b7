/** What answers look like: all that the codec has a way of its own for. */
import type { World } from '../simulation/world.ts';

type Shape = (world: World, execution: string) => object;

/** The same letters in every run: to draw them anew would take longer than the run. */
let noise: string | undefined;

function letters(): string {
  if (noise !== undefined) return noise;
  let state = 1;
  const bytes = Uint8Array.from({ length: 435_000 }, () => {
    state = (Math.imul(state, 0x9e3779b1) + 0x85ebca6b) | 0;
    return (state ^ (state >>> 15)) & 255;
  });
  noise = Buffer.from(bytes).toString('base64');
  return noise;
}

export const shapes = {
  plain: () => ({}),
  /** JSON cannot carry it. */
  rich: (world) => ({
    at: new Date(world.time.nowMs),
    cents: 9_007_199_254_740_993n,
    lines: new Map([['tea', new Set([1, Number.NaN])]]),
    note: undefined,
    bytes: new Uint8Array([0, 255]),
  }),
  /** Worth compressing. */
  long: (_, execution) => ({ text: `${execution} `.repeat(400) }),
  /** Beside the record, in one chunk. */
  big: (world, execution) => ({
    pad: Array.from({ length: 300 }, () => world.chance.uuid(`pad ${execution}`)),
  }),
  /** In several chunks. */
  huge: (_, execution) => ({ text: `${execution}${letters()}` }),
} satisfies Record<string, Shape>;

export type ShapeName = keyof typeof shapes;
