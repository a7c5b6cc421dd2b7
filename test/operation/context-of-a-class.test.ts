import middy from '@middy/core';
import type { Context, SQSEvent } from 'aws-lambda';
import { describe, expect, it } from 'vitest';
import { freshRecords, idempotent, operation } from '../../lib/index.ts';
import { memoryStore } from '../../lib/testing.ts';
import { sqsEvent, sqsMessage } from '../support/batch-events.ts';
import { doors } from '../support/doors.ts';

/** A context whose methods work on the object that they were made for only, as a framework or an emulator makes it. */
class RuntimeContext {
  #waits = true;
  #lines = 0;
  readonly functionName = 'orders';
  lastLine = '';

  /** Middy calls it by itself, without its object. */
  getRemainingTimeInMillis = (): number => 30_000;

  get callbackWaitsForEmptyEventLoop(): boolean {
    return this.#waits;
  }

  set callbackWaitsForEmptyEventLoop(waits: boolean) {
    this.#waits = waits;
  }

  get lines(): number {
    return this.#lines;
  }

  log(line: string): number {
    this.lastLine = line;
    return ++this.#lines;
  }

  toJSON(): object {
    return { functionName: this.functionName };
  }
}

/** The same with more on top, so that members are inherited from further up. */
class TracedContext extends RuntimeContext {
  #trace = 'trace-1';

  get trace(): string {
    return this.#trace;
  }

  override log(line: string): number {
    return super.log(`${this.#trace} ${line}`);
  }
}

const options = (namespace = 'orders') => ({ store: memoryStore(), namespace, key: () => 'key' });

describe.each(doors)('%s gives a handler a context that', (_, door) => {
  it('works as the original does, private fields included', async () => {
    const context = new TracedContext();
    const handler = door((_event, its: TracedContext & Context) => {
      its.callbackWaitsForEmptyEventLoop = false;
      const line = its.log('paid');
      return [line, its.lines, its.trace, its.functionName, its instanceof TracedContext];
    }, options());
    expect(await handler({}, context as unknown as Context)).toEqual([1, 1, 'trace-1', 'orders', true]);
    expect(context.callbackWaitsForEmptyEventLoop).toBe(false);
    expect(context.lines).toBe(1);
  });

  it('sees what its methods change', async () => {
    const handler = door((_event, its: RuntimeContext) => {
      its.log('paid');
      return its.lastLine;
    }, options());
    expect(await handler({}, new RuntimeContext() as unknown as Context)).toBe('paid');
  });

  it('has the method that was set last', async () => {
    const context = new RuntimeContext();
    const handler = door((_event, its: RuntimeContext) => {
      its.log = () => 7;
      return its.log('paid');
    }, options());
    expect(await handler({}, context as unknown as Context)).toBe(7);
    expect(context.log('again')).toBe(7);
  });

  it('looks the same: the operation is not among its members', async () => {
    const handler = door(
      (_event, its: object) => [Object.keys(its), JSON.stringify(its), Object.keys({ ...its })],
      options(),
    );
    const members = Object.keys(new TracedContext());
    expect(await handler({}, new TracedContext() as unknown as Context)).toEqual([
      members,
      '{"functionName":"orders"}',
      members,
    ]);
  });

  it('works in a guard inside of another guard', async () => {
    const inner = idempotent(
      async (_event: unknown, its) => [(its as unknown as TracedContext).log('in'), operation(its).scope],
      options('inner'),
    );
    const handler = door(async (_event, its) => [await inner({}, its), operation(its).scope], options());
    const answer = await handler({}, new TracedContext() as unknown as Context);
    expect(answer).toEqual([[1, 'inner'], 'orders']);
  });

  it('works for a batch', async () => {
    const handler = door(
      freshRecords((event: SQSEvent, its: TracedContext) => {
        expect(operation(its, event.Records[0]).guarded).toBe(true);
        expect(its.log('paid')).toBe(1);
      }),
      { store: memoryStore(), namespace: 'orders' },
    );
    const answer = await handler(sqsEvent(sqsMessage('1')), new TracedContext() as unknown as Context);
    expect(answer).toEqual({ batchItemFailures: [] });
  });
});

describe('a context whose remaining time is private', () => {
  it('tells it to guards, the inner one included', async () => {
    class Deadline {
      #remainingMs = 0;
      getRemainingTimeInMillis(): number {
        return this.#remainingMs;
      }
      set remainingMs(ms: number) {
        this.#remainingMs = ms;
      }
    }
    const context = new Deadline();
    context.remainingMs = 30_000;
    const inner = idempotent(async (_event: unknown) => 'not run', options('inner'));
    const outer = idempotent(async (_event: unknown, its) => {
      (its as unknown as Deadline).remainingMs = 0;
      return inner({}, its);
    }, options());
    await expect(outer({}, context as unknown as Context)).rejects.toMatchObject({ code: 'NO_TIME_LEFT' });
  });
});

describe('a frozen context', () => {
  it('is guarded as well', async () => {
    const context = Object.freeze(new TracedContext());
    const call = middy()
      .use(idempotent({ ...options(), lease: { seconds: 60 } }))
      .handler(async (_event, its) => [its.functionName, operation(its).key]);
    expect(await call({}, context as unknown as Context)).toEqual(['orders', 'key']);
  });
});
