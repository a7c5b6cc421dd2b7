import { expect, test } from 'vitest';
import { runSeeds } from './simulation/run-seeds.ts';

test('seeds 1 to 5000 break no promise, and reach all that they must', { timeout: 600_000 }, async () => {
  expect(await runSeeds(1, 5_000)).toEqual({ broken: '', tooSeldom: [] });
});
