import { afterEach, beforeAll, beforeEach, vi } from 'vitest';
import {
  dynamoStore,
  type EachRecordOptions,
  eachRecord,
  type IdempotentOptions,
  type SourceRecord,
} from '../../lib/index.ts';
import type { Door } from '../support/doors.ts';
import { createTable, type TestTable } from '../support/dynamodb.ts';
import { deferred, turn } from '../support/hands.ts';

/** What names a record of any service, and what its payload is called by. */
export interface Named {
  readonly messageId?: string;
  readonly kinesis?: { readonly sequenceNumber: string };
  readonly dynamodb?: { readonly SequenceNumber?: string };
  readonly s3?: { readonly object: { readonly key: string } };
  readonly payload?: { readonly id?: string; readonly at?: number; readonly offset?: number };
}

/** By the service's own name for a record, else by the payload's `id`. */
export const byRecord = ({ messageId, s3, kinesis, payload }: Named): string =>
  String(messageId ?? s3?.object.key ?? kinesis?.sequenceNumber ?? payload?.id);

/** By the payload's `id`, or where there is none by the record's own name. */
export const byPayload = ({ payload, dynamodb, s3 }: Named): string =>
  String(payload?.id ?? dynamodb?.SequenceNumber ?? payload?.at ?? payload?.offset ?? s3?.object.key);

/** A handler of records that writes down what it worked on. To be called at the top of a test file. */
export function batchBench(nameOf: (record: Named) => string) {
  const bench = {
    /** The names of what was worked on, in order. */
    runs: [] as string[],
    /** Of these the work fails. */
    failing: new Set<string>(),

    async work(record: unknown): Promise<void> {
      const name = nameOf(record as Named);
      bench.runs.push(name);
      await turn();
      if (bench.failing.has(name)) throw new Error(`${name} is down`);
    },

    each: (more: EachRecordOptions<SourceRecord, unknown> = {}) =>
      eachRecord<SourceRecord, unknown>(bench.work, { onFailure: () => {}, ...more }),
  };

  beforeEach(() => {
    bench.runs = [];
    bench.failing = new Set();
    vi.spyOn(console, 'error').mockImplementation(() => {});
  });
  afterEach(() => {
    vi.restoreAllMocks();
  });
  return bench;
}

/** The same with records on DynamoDB, in a namespace of each test's own. */
export function dynamoBatchBench() {
  let sequence = 0;
  const bench = Object.assign(batchBench(byPayload), {
    table: undefined as unknown as TestTable,
    namespace: '',

    options: (more: IdempotentOptions = {}): IdempotentOptions => ({
      store: dynamoStore(bench.table.store),
      namespace: bench.namespace,
      ...more,
    }),

    /** Another invocation that has claimed these records and does not end before it is told to. */
    async busyWith(guard: Door, event: unknown, more: IdempotentOptions = {}) {
      const started = deferred();
      const end = deferred();
      const held = guard(
        eachRecord<SourceRecord>(
          async () => {
            started.resolve();
            await end.promise;
          },
          { onFailure: () => {} },
        ),
        bench.options(more),
      )(event);
      await started.promise;
      return {
        async completes() {
          end.resolve();
          await held;
        },
        async fails() {
          end.reject(new Error('gave up'));
          await held.catch(() => {});
        },
      };
    },
  });

  beforeAll(async () => {
    bench.table = await createTable();
  });
  beforeEach(() => {
    bench.namespace = `batch-${++sequence}`;
  });
  return bench;
}
