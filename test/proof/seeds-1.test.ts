import { expect, test } from 'vitest';
import { brokenSeeds } from './simulation/broken-seeds.ts';

test('seeds 1 to 5000 break no promise', { timeout: 600_000 }, async () => {
  expect(await brokenSeeds(1, 5_000)).toBe('');
});
