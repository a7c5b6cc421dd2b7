/** The records of steps: reads those of earlier attempts, and writes those of this one. */

import { completed } from '../dynamo/index.ts';
import {
  type Attempt,
  answerIn,
  decode,
  type Encoded,
  encode,
  insist,
  inTime,
  overtaken,
  type Settings,
  tellUnavailable,
  whyNot,
} from '../engine/index.ts';
import { IdempotencyError } from '../errors.ts';
import type { NewStep, StepRecord, StepStore, StepWritten, Store, Unavailable } from '../store/index.ts';
import { unsupported } from './transact.ts';

/** A step's record must fit into one item of at most 400 KB. */
const maxValueBytes = 380_000;

export class StepRecords {
  readonly #attempt: Attempt;
  readonly #settings: Settings;
  #earlier: Promise<Map<string, StepRecord>> | undefined;

  constructor(attempt: Attempt, settings: Settings) {
    this.#attempt = attempt;
    this.#settings = settings;
  }

  /** The step `name` of an earlier attempt. One query reads all steps, once; a first attempt sends none. */
  async find(name: string): Promise<StepRecord | undefined> {
    const { pk, window, number, deps, settleTimeMs } = this.#attempt;
    if (number === 1) return undefined;
    this.#earlier ??= inTime(stepsIn(deps.store, 'step()').read({ pk, window }), settleTimeMs).then(
      (records) => new Map(records.map((record) => [record.name, record])),
    );
    try {
      return (await this.#earlier).get(name);
    } catch (error) {
      this.#earlier = undefined;
      throw error;
    }
  }

  /**
   * The value of a step that was recorded.
   *
   * @throws `OVERTAKEN`, `INDETERMINATE`, `RESULT_UNAVAILABLE`
   */
  async recall<T>(record: StepRecord): Promise<T> {
    const { name, value, attempt } = record;
    const { number, pk: operation, deps } = this.#attempt;
    if (attempt > number) throw overtaken(undefined, deps.clock.now());
    if (record.status === 'STARTED') throw indeterminate(name);
    if (!ArrayBuffer.isView(value)) throw unavailable(record, value);
    return (await decode(value, { operation, seal: deps.store.seal })) as T;
  }

  /** Records the start of a step that must not be repeated. Resolves to the record that another attempt wrote first, if any. */
  async start(name: string): Promise<StepRecord | undefined> {
    const step = this.#record(name, 'STARTED');
    const written = await this.#insist(() => stepsIn(this.#attempt.deps.store, 'step()').put(step));
    if (written.outcome === 'applied') return undefined;
    // If it is ours, an earlier sending was applied and its answer was lost.
    return written.found?.owner === this.#attempt.owner ? undefined : written.found;
  }

  /** Records what a step returned. If attempts race on it, the first to finish wins, and all resolve to its value. */
  async finish<T>(name: string, value: T, isStarted: boolean): Promise<T> {
    const steps = stepsIn(this.#attempt.deps.store, 'step()');
    const step = await this.done(name, value);
    let written: StepWritten;
    try {
      written = await this.#insist(() => (isStarted ? steps.finish(step) : steps.put(step)));
    } catch (cause) {
      // The step has run and its value is here, so the handler goes on. Only a later attempt would repeat it.
      this.#observe(name, 'unrecorded', cause);
      return value;
    }
    if (written.outcome === 'applied' || written.found?.owner === this.#attempt.owner) {
      this.#observe(name, 'recorded');
      return value;
    }
    if (written.found) return this.recall<T>(written.found);
    this.#observe(name, 'unrecorded', new Error("The record of the step's start was gone."));
    return value;
  }

  /** The record of a finished step. */
  async done(name: string, value: unknown): Promise<NewStep> {
    const { pk: operation, deps, settleTimeMs } = this.#attempt;
    const { seal } = deps.store;
    const options = { operation, maxBytes: maxValueBytes, seal, sealTimeMs: settleTimeMs / 2 };
    const encoded = await encode(value, options);
    tellUnavailable(this.#settings, 'step', encoded);
    return this.#record(name, 'DONE', encoded);
  }

  #record(name: string, status: 'STARTED' | 'DONE', encoded?: Encoded): NewStep {
    const { pk, window, owner, number: attempt, endsAtMs } = this.#attempt;
    return {
      ...{ pk, window, name, status, owner, attempt, endsAtMs },
      ...(encoded && { value: answerIn(encoded) }),
    };
  }

  #insist(write: () => Promise<StepWritten>): Promise<StepWritten> {
    return insist(this.#attempt.deps.clock, this.#attempt.settleTimeMs, write);
  }

  #observe(name: string, outcome: 'recorded' | 'unrecorded', cause?: unknown): void {
    const { pk: operation, number: attempt } = this.#attempt;
    this.#settings.observe?.({
      ...{ type: 'step', operation, attempt, name, outcome },
      ...(cause !== undefined && { cause }),
    });
  }
}

/**
 * The part of `store` that keeps steps.
 *
 * @param what the method that needs it, for the message
 * @throws `UNSUPPORTED` where there is none
 */
export function stepsIn(store: Store, what: string): StepStore {
  const { steps } = completed(store);
  if (steps) return steps;
  throw unsupported(store, what, 'steps');
}

const indeterminate = (name: string): IdempotencyError =>
  new IdempotencyError(
    'INDETERMINATE',
    `A step (the error's \`step\` is its name) was begun by an earlier attempt and its end was never recorded: it may have happened or not, and it must not be repeated. Somebody has to look downstream.`,
    { effect: 'possible', step: name },
  );

const unavailable = ({ name, attempt }: StepRecord, value: Unavailable | undefined): IdempotencyError =>
  new IdempotencyError(
    'RESULT_UNAVAILABLE',
    `A step (the error's \`step\` is its name) was done by attempt ${attempt}, but what it returned is not available: ${whyNot(value ?? { reason: 'missing' })}. It is not done again. Return something from it that can be stored, such as an id.`,
    { effect: 'possible', step: name },
  );
