/** What the options must be that `eachRecord` and `eachPartition` share, and their defaults. */
import { isFunction, type Rules } from '../validate.ts';
import type { PassSettings } from './pass.ts';
import type { Schema } from './payload.ts';

export const batchRules = {
  schema: {
    expected: 'a schema that speaks Standard Schema',
    isFine: (value) => isFunction((value as Schema | null)?.['~standard']?.validate),
  },
  concurrency: {
    expected: 'a whole number of 1 and up',
    isFine: (value) => Number.isSafeInteger(value) && (value as number) >= 1,
    fallback: 10,
  },
  stopBeforeDeadlineMs: {
    expected: 'a number of milliseconds, 0 to 900000',
    isFine: (value) => typeof value === 'number' && value >= 0 && value <= 900_000,
    fallback: 1_000,
  },
} satisfies Rules<Omit<PassSettings, 'onFailure'>>;
