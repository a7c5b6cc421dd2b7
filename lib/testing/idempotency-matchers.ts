/** `explore` as an assertion: a matcher for vitest and Jest, and a function for every other runner. */
import { AssertionError } from 'node:assert';
import { type ExploreOptions, type ExploreReport, explore } from './explore.ts';
import type { MakeHandler } from './schedule.ts';

/** What `expect.extend(idempotencyMatchers)` adds. Declare it: `interface Matchers<R, T> extends IdempotencyMatchers {}`. */
export interface IdempotencyMatchers {
  /** Fails with the report if an effect is repeated or missing. Await it. */
  toBeIdempotent(event: unknown, options?: ExploreOptions): Promise<void>;
}

/** For `expect.extend` of vitest and Jest. */
export const idempotencyMatchers = {
  async toBeIdempotent(
    make: unknown,
    event?: unknown,
    options?: ExploreOptions,
  ): Promise<{ pass: boolean; message: () => string }> {
    const report = await explore(make as MakeHandler, event, options);
    return { pass: report.isIdempotent, message: () => messageOf(report) };
  },
};

/**
 * Explores a handler and throws if it is not idempotent, for node:test and others.
 *
 * @throws AssertionError with the report if an effect is repeated or missing; what `explore` throws
 */
export async function assertIdempotent(
  make: MakeHandler,
  event: unknown,
  options?: ExploreOptions,
): Promise<ExploreReport> {
  const report = await explore(make, event, options);
  if (!report.isIdempotent) throw new AssertionError({ message: messageOf(report), actual: report.effects });
  return report;
}

const messageOf = (report: ExploreReport): string =>
  `The handler is ${report.isIdempotent ? '' : 'not '}idempotent: ${report.toString()}`;
