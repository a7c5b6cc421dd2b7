import { expect, test } from 'vitest';
import { brokenSeeds } from './simulation/broken-seeds.ts';

test('seeds 5001 to 10000 break no promise', { timeout: 600_000 }, async () => {
  expect(await brokenSeeds(5001, 5_000)).toBe('');
});
