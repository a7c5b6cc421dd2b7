import { describe, expect, it } from 'vitest';
import { memoryStore } from '../../lib/testing.ts';
import { doors } from '../support/doors.ts';

describe.each(doors.filter(([name]) => name !== 'the wrapper'))('%s: a middleware that reads', (_, door) => {
  /** It reads event and context as the call of the handler does, answers, and fails. */
  const call = (read: (request: { event: unknown; context: unknown }) => unknown) => {
    let runs = 0;
    let isBroken = true;
    const handler = door(
      () => ++runs,
      { store: memoryStore(), namespace: 'orders', key: () => 'key' },
      {
        async before(request) {
          if (!isBroken) return;
          await read(request);
          request.response = 'half an answer';
          throw new Error('not ready');
        },
      },
    );
    return {
      handler,
      mend: () => {
        isBroken = false;
      },
    };
  };

  it.each<[string, (request: { event: unknown; context: unknown }) => unknown]>([
    [
      'the event, and in a later turn the context',
      async (request) => {
        void request.event;
        await undefined;
        void request.context;
      },
    ],
    [
      'the context, and then the event',
      (request) => {
        void request.context;
        void request.event;
      },
    ],
    ['the context alone', (request) => void request.context],
  ])('%s has not called the handler: the key stays free', async (_what, read) => {
    const { handler, mend } = call(read);
    await expect(handler({})).rejects.toThrow('not ready');
    mend();
    expect(await handler({})).toBe(1);
    expect(await handler({})).toBe(1);
  });
});
