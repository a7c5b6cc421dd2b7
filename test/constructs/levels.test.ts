import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { IdempotencyTable, IdempotentFunction } from '../../constructs/index.ts';
import { createFunction, createStack } from './support.ts';

const entry = join(import.meta.dirname, '../../examples/payments.ts');

describe('a level that does not exist', () => {
  it.each(['comitted', '', 'toString'])("is refused at synthesis: '%s'", (level) => {
    const stack = createStack();
    const table = new IdempotencyTable(stack, 'Idempotency');
    const message = `level is '${level}': use 'guarded', 'stepped', 'committed'`;
    expect(
      () => new IdempotentFunction(stack, 'Payments', { entry, table, level: level as 'guarded' }),
    ).toThrow(message);
    expect(() => table.protect(createFunction(stack, 'Other'), { level: level as 'guarded' })).toThrow(
      message,
    );
  });

  it.each(['guarded', 'stepped', 'committed', undefined] as const)('does not include %s', (level) => {
    const stack = createStack();
    const table = new IdempotencyTable(stack, 'Idempotency');
    table.protect(createFunction(stack, 'Other'), { ...(level && { level }) });
  });
});
