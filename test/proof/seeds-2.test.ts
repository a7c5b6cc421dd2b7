import { expect, test } from 'vitest';
import { runSeeds } from './simulation/run-seeds.ts';

test('seeds 5001 to 10000 break no promise, and reach all that they must', { timeout: 600_000 }, async () => {
  expect(await runSeeds(5001, 5_000)).toEqual({ broken: '', tooSeldom: [] });
});
