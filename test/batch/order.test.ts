import { describe, expect, it } from 'vitest';
import type { SourceRecord } from '../../lib/index.ts';
import { eachRecord, type IdempotentOptions, idempotent, type Operation } from '../../lib/index.ts';
import type { Store } from '../../lib/store.ts';
import { memoryStore } from '../../lib/testing.ts';
import {
  failedIn,
  fifoMessage,
  kinesisEvent,
  kinesisRecord,
  sqsEvent,
  sqsMessage,
} from '../support/batch-events.ts';
import { lambdaContext } from '../support/invocation.ts';
import { byRecord, type Named } from './bench.ts';

/** Guards a handler that keeps in `runs` which records it was called for. */
function guarded(options: IdempotentOptions, work: (id: string, op: Operation) => unknown = () => {}) {
  const runs: string[] = [];
  const handler = idempotent(
    eachRecord<SourceRecord>(
      async (record, op) => {
        const id = byRecord(record as Named);
        runs.push(id);
        await work(id, op);
      },
      { onFailure: () => {} },
    ),
    options as object,
  );
  return { runs, deliver: async (event: object) => failedIn(await handler(event as never, lambdaContext())) };
}

/** Somebody whose clock is ahead takes over the first record that is to be completed. */
function overtakenAtFirst(): Store {
  const store = memoryStore();
  let isFirst = true;
  return {
    ...store,
    async complete(completion) {
      if (isFirst) {
        isFirst = false;
        const found = (await store.read(completion.pk))!;
        await store.takeOver({
          ...{ pk: found.pk, owner: 'another', previousOwner: found.owner, attempt: 2 },
          leaseUntilMs: Date.now() + 60_000,
        });
      }
      return store.complete(completion);
    },
  };
}

const group = ['m-1', 'm-2', 'm-3'].map((id) => fifoMessage(id, 'g'));

describe('a record that turns out to have failed when it is settled', () => {
  it('stops its FIFO group where it was overtaken', async () => {
    const { runs, deliver } = guarded({ store: overtakenAtFirst() });
    expect(await deliver(sqsEvent(...group))).toEqual(['m-1', 'm-2', 'm-3']);
    expect(runs).toEqual(['m-1']);
  });

  it('stops its FIFO group where it did not commit, and the rest comes after it', async () => {
    let forgets = true;
    const { runs, deliver } = guarded({ store: memoryStore(), claim: 'at-commit' }, (id, op) =>
      forgets && id === 'm-1' ? undefined : op.commit({ result: undefined }),
    );
    expect(await deliver(sqsEvent(...group))).toEqual(['m-1', 'm-2', 'm-3']);
    expect(runs).toEqual(['m-1']);
    forgets = false;
    expect(await deliver(sqsEvent(...group))).toEqual([]);
    expect(runs).toEqual(['m-1', 'm-1', 'm-2', 'm-3']);
  });

  it('stops its shard', async () => {
    const { runs, deliver } = guarded({ store: overtakenAtFirst() });
    expect(await deliver(kinesisEvent(kinesisRecord(5), kinesisRecord(6)))).toEqual(['5']);
    expect(runs).toEqual(['5']);
  });

  it('stops nothing in a standard queue', async () => {
    const { runs, deliver } = guarded({ store: overtakenAtFirst() });
    expect(await deliver(sqsEvent(sqsMessage('m-1'), sqsMessage('m-2')))).toEqual(['m-1']);
    expect(runs).toEqual(['m-1', 'm-2']);
  });
});
