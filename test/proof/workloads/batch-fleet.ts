/** Handlers of batches, one record at a time, at each level. */
import type { DynamoDBRecord, KinesisStreamRecord, SQSRecord } from 'aws-lambda';
import { eachRecord, type IdempotentOptions, idempotent, type Operation } from '../../../lib/index.ts';
import type { Chance } from '../../../lib/simulate/time/chance.ts';
import { effectsTable } from '../simulation/database.ts';
import type { CallOutcome, Queued } from '../simulation/history.ts';
import { namespace, type World } from '../simulation/world.ts';
import { Fleet } from './fleet.ts';

export type SourceRecord = SQSRecord | KinesisStreamRecord | DynamoDBRecord;

/** Something that is waiting, as its service sends it. */
export interface Entry extends Queued {
  readonly record: SourceRecord;
}

interface Batch {
  readonly Records: readonly SourceRecord[];
}

type Guarded = (event: Batch, context: unknown) => Promise<unknown>;
type Level = 'guarded' | 'committed' | 'at commit';

export class BatchFleet {
  readonly timeoutMs: number;
  readonly #world: World;
  readonly #level: Level;
  readonly #workMs: number;
  readonly #fleet: Fleet<Guarded>;
  readonly #entries = new Map<unknown, Entry>();

  constructor(world: World, options: IdempotentOptions = {}) {
    const { chance } = world;
    this.#world = world;
    this.timeoutMs = chance.pick('queue', [4_000, 15_000]);
    this.#workMs = chance.pick('queue', [0, 300, 2_000]);
    this.#level = chance.pick('level of records', ['guarded', 'guarded', 'committed', 'at commit'] as const);
    const more = optionsOf(chance);
    this.#fleet = new Fleet(world, { kind: 'function', timeoutMs: this.timeoutMs }, (sandbox) => {
      const handler = eachRecord<SourceRecord>((record, op) => this.#handle(this.#entryOf(record), op), {
        ...(more.concurrency && { concurrency: more.concurrency }),
        onFailure: () => {},
      });
      return idempotent(handler, {
        store: world.store(sandbox),
        namespace,
        observe: world.observe,
        ...more.guard,
        ...(this.#level === 'at commit' && { claim: 'at-commit' }),
        ...options,
      }) as Guarded;
    });
  }

  invoke(batch: readonly Entry[], ended: (outcome: CallOutcome) => void): void {
    const { sandbox, guarded } = this.#fleet.pick();
    for (const entry of batch) this.#entries.set(entry.key, entry);
    const about = {
      tenant: 'queue',
      key: batch.map(({ key }) => key).join(', '),
      pks: batch.map(({ pk }) => pk),
      payload: 'a batch',
      claimsAtCommit: this.#level === 'at commit',
    };
    const event = { Records: batch.map(({ record }) => structuredClone(record)) };
    this.#world.invoke(sandbox, about, (context) => guarded(event, context), this.#fleet.deadline, ended);
  }

  /** What the counters of commits say at the end. */
  count(): void {
    const { database, history } = this.#world;
    for (const { pk } of this.#entries.values()) {
      const times = (database.item(effectsTable, pk, 'counter')?.times as { N?: string } | undefined)?.N;
      history.counters.set(pk, Number(times ?? 0));
    }
  }

  #entryOf(record: SourceRecord): Entry {
    const entry = this.#entries.get(keyOf(record));
    if (!entry) throw new Error('A record was handled that nobody sent.');
    return entry;
  }

  async #handle({ key, pk }: Entry, op: Operation): Promise<unknown> {
    const world = this.#world;
    const execution = world.begin(op, key, pk);
    try {
      if (this.#level === 'guarded') await world.act(execution, 'charge');
      await world.pause(world.chance.between(`work ${execution.id}`, 0, this.#workMs));
      if (world.fault(`${execution.id} at work`, 'handler throws')) throw new Error('The handler failed.');
      const answer = this.#level === 'guarded' ? undefined : await this.#commit(execution.id, pk, op);
      world.returned(execution, answer);
      return answer;
    } catch (error) {
      world.threw(execution);
      throw error;
    }
  }

  #commit(id: string, pk: string, op: Operation): Promise<unknown> {
    const TableName = effectsTable;
    const Update = {
      TableName,
      Key: { pk, sk: 'counter' },
      UpdateExpression: 'ADD times :one',
      ExpressionAttributeValues: { ':one': 1 },
    };
    const Put = { TableName, Item: { pk: id, sk: 'by', operation: pk } };
    return op.commit({ result: 'done', writes: [{ Put }, { Update }] });
  }
}

/** A record's name within its batch, which is what its service calls it. */
export function keyOf(record: SourceRecord): string | undefined {
  if ('messageId' in record) return record.messageId;
  return 'kinesis' in record ? record.kinesis.sequenceNumber : record.dynamodb?.SequenceNumber;
}

/** What of a batch an answer does not report, and is done for the service. @throws where it reports what is not in the batch */
export function failuresIn(batch: readonly Entry[], value: unknown): Set<string> {
  const { batchItemFailures } = value as { batchItemFailures: { itemIdentifier: string }[] };
  const failed = new Set(batchItemFailures.map(({ itemIdentifier }) => itemIdentifier));
  const strange = [...failed].find((id) => !batch.some(({ key }) => key === id));
  if (strange !== undefined) throw new Error(`A batch reports '${strange}', which is not in it.`);
  return failed;
}

const optionsOf = (chance: Chance) => ({
  concurrency: chance.pick('concurrency', [undefined, undefined, 1, 2]),
  guard: {
    ...(chance.isTrue('batch options', 0.3) && { whenBusy: { waitMs: 2_000 } }),
    ...(chance.isTrue('batch options', 0.3) && { cache: { maxItems: 10 } }),
  } satisfies IdempotentOptions,
});
