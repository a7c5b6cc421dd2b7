import { expect } from 'vitest';
import { type IdempotentOptions, idempotent } from '../../lib/index.ts';

const handler = async () => 'done';

/** Makes both kinds of guard of options that the types may not allow. */
export function make(options: unknown): void {
  idempotent(handler, options as IdempotentOptions);
  idempotent(options as IdempotentOptions);
}

export function refusalOf(options: unknown): string {
  const messages = [
    () => idempotent(handler, options as IdempotentOptions),
    () => idempotent(options as IdempotentOptions),
  ].map((create) => {
    try {
      create();
    } catch (error) {
      expect(error).toMatchObject({ name: 'IdempotencyError', code: 'BAD_OPTION' });
      return (error as Error).message;
    }
    throw new Error('It was not refused.');
  });
  expect(messages[0]).toBe(messages[1]);
  return String(messages[0]);
}
