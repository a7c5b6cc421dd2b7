/** A batch whose handler takes it lane by lane, and the lanes of one that nothing guards. */
import type { Context } from 'aws-lambda';
import type { Ended, Settings } from '../engine/index.ts';
import { IdempotencyError } from '../errors.ts';
import {
  type Batch,
  type BatchRecord,
  identifyLane,
  type LaneIdentity,
  streamPlaceOf,
} from '../events/index.ts';
import type { BatchOperations, LaneOperation, Operation } from '../operation/index.ts';
import type { ArrivedBatch, TakenBatch } from './arrived-batch.ts';
import {
  type LaneGuard,
  type LaneHandler,
  LanePass,
  type LanePassSettings,
  type PlacedRecord,
} from './lane-pass.ts';
import { beginTurn, type LaneTurn, UnguardedTurn } from './lane-turn.ts';
import { OriginalRecords } from './original-records.ts';
import { asOfBatch, reportOf } from './report.ts';
import { foreignRecords } from './take.ts';

interface ArrivedLane {
  /** `undefined` where nothing guards it. */
  readonly identity: LaneIdentity | undefined;
  readonly records: PlacedRecord[];
  /** By their positions. */
  readonly firsts: Map<string, BatchRecord>;
}

export class PartitionedBatch implements TakenBatch, BatchOperations, LaneGuard<ArrivedLane> {
  readonly batch: Batch;
  isClosed = false;
  readonly #arrived: ArrivedBatch;
  readonly #settings: Settings;
  readonly #originals: OriginalRecords;
  readonly #running = new Set<LaneTurn>();
  readonly #operations = new Map<BatchRecord, LaneOperation>();
  #pass: LanePass<ArrivedLane> | undefined;

  /** @param forgetAfterMs how long a lane's position is kept after it has moved */
  constructor(arrived: ArrivedBatch, forgetAfterMs: number) {
    const { settings, batch } = arrived;
    this.batch = batch;
    this.#arrived = arrived;
    this.#originals = new OriginalRecords(batch.records);
    const none = { key: false, input: false } as const;
    // A lane has no answers, neither to keep nor to judge.
    this.#settings = {
      ...settings,
      ttlMs: forgetAfterMs,
      cache: undefined,
      keep: none,
      remember: () => true,
    };
  }

  /**
   * Gives the handler the lanes of `event`.
   *
   * @param event what the guard passed on, or what other middlewares made of it
   * @throws `UNSUPPORTED`, `BAD_KEY`, an error that shows that the guard is set up wrongly, what `reportOf` throws
   */
  async go(
    event: unknown,
    context: Context,
    handler: LaneHandler,
    settings: LanePassSettings,
  ): Promise<unknown> {
    const records = this.#originals.recordsIn(event);
    if (records === undefined) throw foreignRecords('eachPartition');
    const lanes = this.#lanesOf(records);
    const pass = new LanePass<ArrivedLane>(this, context, handler, settings);
    this.#pass = pass;
    return pass.go(lanes);
  }

  begin({ identity, records }: ArrivedLane): Promise<LaneTurn | undefined> {
    const end = records.at(-1)?.position;
    return identity === undefined || end === undefined
      ? Promise.resolve(new UnguardedTurn(this.#settings))
      : beginTurn(this.#settings, identity, end, this.#arrived.context);
  }

  started(turn: LaneTurn, { records }: ArrivedLane, operation: LaneOperation): void {
    this.#running.add(turn);
    for (const { original } of records) this.#operations.set(original, operation);
  }

  over({ identity }: ArrivedLane, moved: number, dropped: number): void {
    if (identity === undefined || moved + dropped === 0) return;
    this.#settings.observe?.({ type: 'position', operation: identity.pk, moved, dropped });
  }

  operationOf(raw: unknown): Operation | undefined {
    const record = this.#originals.find(raw);
    return record && (this.#operations.get(record) as Operation | undefined);
  }

  returned = async (answer: unknown): Promise<unknown> => this.completed(answer);

  async threw(error: unknown): Promise<Ended> {
    this.isClosed = true;
    // Some handlers may still be running: a later middleware, or the end of the time, has cut them off.
    await Promise.all([...this.#running].map((turn) => turn.threw(error)));
    const started = this.#pass?.fate.started ?? new Set<BatchRecord>();
    return { kind: 'error', error: asOfBatch(error, undefined, started) };
  }

  async returnedInVain(): Promise<void> {}

  completed(handlersAnswer?: unknown): unknown {
    return this.#pass ? reportOf(this.batch, this.#pass.fate, handlersAnswer) : handlersAnswer;
  }

  #lanesOf(records: readonly BatchRecord[]): ArrivedLane[] {
    const { settings, context, identities } = this.#arrived;
    const lanes = new Map<string, ArrivedLane>();
    for (const record of records) {
      const original = this.#originals.of(record);
      if (identities) {
        const identity = identifyLane(settings, original, context as Context);
        add(lanes, identity.pk, identity, { original, record, position: identity.position });
      } else placeUnguarded(lanes, original, record);
    }
    return inOrder(lanes);
  }
}

/** The lanes of a batch that nothing guards. */
export class UnguardedLanes implements LaneGuard<ArrivedLane> {
  readonly batch: Batch;
  readonly isClosed = false;

  constructor(batch: Batch) {
    this.batch = batch;
  }

  async go(context: Context, handler: LaneHandler, settings: LanePassSettings): Promise<unknown> {
    const lanes = new Map<string, ArrivedLane>();
    for (const record of this.batch.records) placeUnguarded(lanes, record, record);
    return new LanePass<ArrivedLane>(this, context, handler, settings).go(inOrder(lanes));
  }

  begin = async (): Promise<LaneTurn> => new UnguardedTurn();
  started(): void {}
  over(): void {}
}

function placeUnguarded(lanes: Map<string, ArrivedLane>, original: BatchRecord, record: BatchRecord): void {
  const { parts, position } = streamPlaceOf(original);
  add(lanes, JSON.stringify(parts), undefined, { original, record, position });
}

function add(
  lanes: Map<string, ArrivedLane>,
  name: string,
  identity: LaneIdentity | undefined,
  placed: PlacedRecord,
): void {
  const { original, position } = placed;
  const lane: ArrivedLane = lanes.get(name) ?? { identity, records: [], firsts: new Map() };
  lanes.set(name, lane);
  // A record that is twice in one batch is given once. Copies that a middleware has made of one are several.
  if ((lane.firsts.get(position) ?? original) !== original) return;
  lane.firsts.set(position, original);
  lane.records.push(placed);
}

/** Services send a lane's records in order. A middleware may have changed that. */
function inOrder(lanes: ReadonlyMap<string, ArrivedLane>): ArrivedLane[] {
  for (const { records } of lanes.values()) {
    records.sort(({ position: one }, { position: other }) => (one < other ? -1 : one > other ? 1 : 0));
  }
  return [...lanes.values()];
}

/** @throws `UNSUPPORTED` where the guard has what a batch of lanes cannot follow */
export function refuseForLanes({ settings, outer, isNumbered }: ArrivedBatch): void {
  if (isNumbered)
    throw unsupported(
      'Option `sequence` does not go with eachPartition()',
      'The stream numbers its records itself: leave the option out, or use eachRecord()',
    );
  if (outer) throw unsupported('There are two guards around one eachPartition()', 'Leave one of them out');
  for (const name of ['key', 'fingerprint'] as const) {
    if (typeof settings[name] === 'function') {
      throw unsupported(
        `Option \`${name}\` does not go with eachPartition()`,
        'A lane is named by its stream, and its records by their sequence numbers: leave the option out, or use eachRecord()',
      );
    }
  }
}

const unsupported = (what: string, fix: string): IdempotencyError =>
  new IdempotencyError('UNSUPPORTED', `${what}. ${fix}.`);
