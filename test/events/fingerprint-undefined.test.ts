import type { SQSEvent, SQSRecord } from 'aws-lambda';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { freshRecords, idempotent } from '../../lib/index.ts';
import { memoryStore } from '../../lib/testing.ts';
import { sqsEvent, sqsMessage } from '../support/batch-events.ts';
import { lambdaContext } from '../support/invocation.ts';

let warn: ReturnType<typeof vi.spyOn>;
beforeEach(() => {
  warn = vi.spyOn(console, 'warn').mockImplementation(() => {});
});
afterEach(() => {
  vi.restoreAllMocks();
});

/** Ids are keys; what `fingerprint` returns of them is as given. */
interface Call {
  readonly id?: string;
  readonly payload?: string;
}
const guarded = (fingerprint: (event: Call) => unknown) => {
  const options = { store: memoryStore(), namespace: 'orders', fingerprint: fingerprint as () => unknown };
  return idempotent(
    freshRecords(async (_: Call | SQSEvent): Promise<unknown> => 'done'),
    {
      ...options,
      key: (event) => (event as Call).id ?? (event as unknown as SQSRecord).messageId,
    },
  );
};

describe('a `fingerprint` that returns undefined', () => {
  it('for every call is told once a guard', async () => {
    for (const handler of [guarded(() => undefined), guarded(({ payload }) => payload)]) {
      warn.mockClear();
      for (const id of ['1', '2', '3']) await handler({ id });
      expect(warn).toHaveBeenCalledOnce();
      expect(warn.mock.calls[0]?.[0]).toMatch(/`fingerprint` returned undefined.*`fingerprint: false`/s);
    }
  });

  it('for every record of a batch is told once', async () => {
    const handler = guarded(() => undefined);
    await handler(sqsEvent(...['1', '2', '3'].map((id) => sqsMessage(id))), lambdaContext());
    expect(warn).toHaveBeenCalledOnce();
  });

  it('for some calls only is not told: they have nothing to compare', async () => {
    const handler = guarded(({ payload }) => payload);
    await handler({ id: '1', payload: 'a' });
    await handler({ id: '2' });
    expect(warn).not.toHaveBeenCalled();
  });

  it('is no fault where nothing is to be compared', async () => {
    const options = { store: memoryStore(), namespace: 'orders', key: ({ id }: { id: string }) => id };
    await idempotent(async (_: { id: string }) => 'done', { ...options, fingerprint: false })({ id: '1' });
    await idempotent(async (_: { id: string }) => 'done', { ...options, fingerprint: () => null })({
      id: '2',
    });
    expect(warn).not.toHaveBeenCalled();
  });
});
