/**
 * What a handler does under its attempt: steps, transactions, the commit. Each is begun only while the attempt may, is
 * waited for before the claim is given up, and is recorded so that no later attempt repeats it.
 *
 * A transaction that was cancelled is read in this order: the claim (is it still ours?), the step's own record (was it
 * done?), conflicts (send it again), and only then the handler's own conditions.
 */
import { decode, type Encoded, encode } from './codec.ts';
import { IdempotencyError, show, storeUnavailable } from './errors.ts';
import { Attempt, backoff, inTime, maxRaces, overtaken, refusalOf, stand } from './operation.ts';
import type { Settings } from './options.ts';
import { type Message, staged } from './outbox.ts';
import { storedAnswer } from './recall.ts';
import type {
  ClaimRecord,
  NewStep,
  StagedMessage,
  StepRecord,
  StepWritten,
  Transacted,
  TransactionRequest,
  TransactWrite,
  Written,
} from './store.ts';
import { tokenOf } from './token.ts';

/** Writes and messages that are to happen at once, or not at all. */
export interface AtomicWork {
  /**
   * DynamoDB writes in the shape of lib-dynamodb's `TransactItems`, values as JavaScript has them. Every condition that
   * fails comes back with the item that it met.
   */
  readonly writes?: readonly TransactWrite[];
  /** Messages for the outbox: staged with the writes, published by `OutboxPipe` or `relayOutbox()`. */
  readonly messages?: readonly Message[];
}

/** A step's record must fit into one item, which takes 400 KB. */
const maxStepBytes = 380_000;

type Cancelled = Extract<Transacted, { outcome: 'cancelled' }>;

/** How the commit ended, if there was one. */
export type Commit =
  /** `plain` is its result as it was encoded, before it was sealed. */
  | { readonly kind: 'applied'; readonly plain: Uint8Array | undefined; readonly record: ClaimRecord }
  /** Somebody else had completed the operation: theirs is the answer. */
  | { readonly kind: 'duplicate'; readonly record: ClaimRecord };

export class Work {
  /** Another one once an abandoned claim has been taken over at the commit. */
  attempt: Attempt;
  /** Whether the claim is ours; an at-commit attempt has none before its commit. */
  isClaimed: boolean;
  commitOutcome: Commit | undefined;
  /** Whether the handler has tried to commit, whatever came of it. */
  hasTriedCommit = false;
  readonly #settings: Settings;
  /** Makes of a result what is to be stored of it. */
  readonly #toStore: (result: unknown) => unknown;
  readonly #names = new Set<string>();
  readonly #pending = new Set<Promise<unknown>>();
  /** Errors that come from here: a front door may answer for them. */
  readonly #raised = new WeakSet<object>();
  #steps: Promise<Map<string, StepRecord>> | undefined;
  #calls = 0;
  #isCommitting = false;

  constructor(
    attempt: Attempt,
    options: {
      readonly settings: Settings;
      readonly isClaimed: boolean;
      readonly toStore: (result: unknown) => unknown;
    },
  ) {
    this.attempt = attempt;
    this.isClaimed = options.isClaimed;
    this.#settings = options.settings;
    this.#toStore = options.toStore;
  }

  /** Whether `error` was raised here, by this attempt. */
  hasRaised(error: unknown): boolean {
    return typeof error === 'object' && error !== null && this.#raised.has(error);
  }

  token(name: string): string {
    this.#refuseWithoutClaim('token()');
    this.#refuseLate();
    this.attempt.begun = true;
    return tokenOf(this.attempt.pk, this.attempt.window, name);
  }

  step<T>(name: string, fn: (step: { token: string }) => Promise<T> | T, isOnce: boolean): Promise<T> {
    return this.#track(async () => {
      this.#enter('step()', name);
      const recorded = await this.#recorded(name);
      if (recorded) return this.#recall<T>(recorded);
      const earlier = isOnce ? await this.#start(name) : undefined;
      if (earlier) return this.#recall<T>(earlier);
      // Reading and starting took time: whatever begins after the lease may run beside another attempt.
      this.#refuseLate();
      const value = await fn({ token: tokenOf(this.attempt.pk, this.attempt.window, name) });
      return this.#recordStep(name, value, isOnce);
    });
  }

  transaction<T>(
    name: string,
    { writes = [], messages = [], value }: AtomicWork & { value?: T },
  ): Promise<T> {
    return this.#track(async () => {
      this.#enter('transaction()', name);
      const recorded = await this.#recorded(name);
      if (recorded) return this.#recall<T>(recorded);
      this.#refuseLate();
      const { attempt } = this;
      const cancelled = await this.#transact(
        {
          claim: { kind: 'check', owner: attempt.owner },
          step: this.#newStep(name, 'DONE', await this.#encode(value, maxStepBytes)),
          writes,
          messages: await this.#stage(name, messages),
        },
        name,
      );
      if (cancelled === undefined) return value as T;
      if (cancelled.claim) throw this.#overtaken(cancelled.claim.found);
      const { step } = cancelled;
      if (!step) throw rejected(cancelled);
      // Ours: it was applied, and the answer to it was lost.
      if (step.found?.owner === attempt.owner) return value as T;
      if (!step.found) throw this.#overtaken(undefined);
      return this.#recall<T>(step.found);
    });
  }

  commit<R>(work: AtomicWork & { readonly result: R }): Promise<R> {
    return this.#track(async () => {
      this.#refuseLate();
      this.hasTriedCommit = true;
      this.#isCommitting = true;
      try {
        return (await (this.isClaimed ? this.#commitClaimed(work) : this.#commitUnclaimed(work))) as R;
      } finally {
        this.#isCommitting = false;
      }
    });
  }

  /** Waits until nothing that was begun is running any more; resolves to whether that came to be in time. */
  async isIdle(): Promise<boolean> {
    if (this.#pending.size === 0) return true;
    const idle = (async () => {
      while (this.#pending.size > 0) await Promise.allSettled(this.#pending);
      return true;
    })();
    return inTime(idle, this.attempt.settleTimeMs).catch(() => false);
  }

  // --- the commit

  async #commitClaimed({
    result,
    writes = [],
    messages = [],
  }: AtomicWork & { result: unknown }): Promise<unknown> {
    const { attempt } = this;
    attempt.begun = true;
    const encoded = await this.#encodeResult(result);
    const completion = attempt.completion(answerIn(encoded));
    const applied = (): unknown => {
      this.#applied(encoded, attempt.completedRecord(completion));
      return result;
    };
    let found: ClaimRecord | undefined;
    if (writes.length === 0 && messages.length === 0) {
      const written = await this.#insist(() => attempt.request.store.complete(completion));
      if (written.applied) return applied();
      found = written.found;
    } else {
      const cancelled = await this.#transact(
        { claim: { kind: 'complete', completion }, writes, messages: await this.#stage('commit', messages) },
        'commit',
      );
      if (cancelled === undefined) return applied();
      if (!cancelled.claim) throw rejected(cancelled);
      found = cancelled.claim.found;
    }
    if (found?.owner === attempt.owner && found.status === 'COMPLETED') return applied();
    throw this.#overtaken(found);
  }

  /** Claim and completion in one: whatever the claim's condition meets decides what this attempt was. */
  async #commitUnclaimed(work: AtomicWork & { result: unknown }): Promise<unknown> {
    const { result, writes = [], messages = [] } = work;
    const encoded = await this.#encodeResult(result);
    const { request, owner } = this.attempt;
    for (let races = 0; races < maxRaces; races++) {
      const attempt = Attempt.first(request, owner);
      const completion = attempt.completion(answerIn(encoded));
      const claim = attempt.newClaim;
      let found: ClaimRecord | undefined;
      if (writes.length === 0 && messages.length === 0) {
        const written = await this.#insist(() => request.store.claimCompleted(claim, completion));
        if (written.applied) return this.#appliedUnclaimed(attempt, encoded, completion, result);
        found = written.found;
      } else {
        const cancelled = await this.#transact(
          {
            claim: { kind: 'record', claim, completion },
            writes,
            messages: await this.#stage('commit', messages),
          },
          'commit',
        );
        if (cancelled === undefined) return this.#appliedUnclaimed(attempt, encoded, completion, result);
        if (!cancelled.claim) throw rejected(cancelled);
        found = cancelled.claim.found;
      }
      const nowMs = request.clock.now();
      switch (stand(found, request, owner)) {
        case 'mine':
          return this.#appliedUnclaimed(attempt, encoded, completion, result);
        case 'free':
          continue;
        case 'mismatch':
          throw this.#raise(refusalOf({ outcome: 'mismatch', record: found! }, nowMs));
        case 'completed':
          this.commitOutcome = { kind: 'duplicate', record: found! };
          return storedAnswer(this.#settings, found!);
        case 'busy':
          throw this.#raise(refusalOf({ outcome: 'busy', record: found }, nowMs));
        case 'abandoned': {
          const after = Attempt.after(found!, request, owner);
          if (!(await inTime(after.claim(), after.settleTimeMs)).applied) continue;
          this.attempt = after;
          this.isClaimed = true;
          return this.#commitClaimed(work);
        }
      }
    }
    throw this.#raise(refusalOf({ outcome: 'busy', record: undefined }, request.clock.now()));
  }

  #appliedUnclaimed(
    attempt: Attempt,
    encoded: Encoded,
    completion: Parameters<Attempt['completedRecord']>[0],
    result: unknown,
  ): unknown {
    this.#applied(encoded, attempt.completedRecord(completion));
    return result;
  }

  #applied(encoded: Encoded, record: ClaimRecord): void {
    const plain = encoded.kind === 'bytes' ? encoded.plain : undefined;
    this.commitOutcome = { kind: 'applied', plain, record };
  }

  // --- steps

  /** What an earlier attempt has recorded under `name`: read in one query, once, and only where there was one. */
  async #recorded(name: string): Promise<StepRecord | undefined> {
    if (this.attempt.number === 1) return undefined;
    const { pk, window, request } = this.attempt;
    this.#steps ??= inTime(request.store.readSteps({ pk, window }), this.attempt.settleTimeMs).then(
      (records) => new Map(records.map((record) => [record.name, record])),
    );
    try {
      return (await this.#steps).get(name);
    } catch (error) {
      this.#steps = undefined;
      throw error;
    }
  }

  async #recall<T>(record: StepRecord): Promise<T> {
    const { name, value, attempt } = record;
    if (attempt > this.attempt.number) throw this.#overtaken(undefined);
    if (record.status === 'STARTED') throw this.#raise(indeterminate(name));
    if (!(value instanceof Uint8Array)) {
      throw new IdempotencyError(
        'RESULT_UNAVAILABLE',
        `Step ${show(name)} was done by attempt ${attempt}, but what it returned could not be stored (${value}). It is not done again. Return something from it that can be stored, such as an id.`,
        { effect: 'possible' },
      );
    }
    const { seal } = this.attempt.request.store;
    return (await decode(value, { operation: this.attempt.pk, seal })) as T;
  }

  /** Records the start of a step that must not be repeated. Resolves to a record that was there before. */
  async #start(name: string): Promise<StepRecord | undefined> {
    const written = await this.#insist(() =>
      this.attempt.request.store.putStep(this.#newStep(name, 'STARTED')),
    );
    if (written.applied) return undefined;
    // Ours: the answer to an earlier sending was lost.
    return written.found?.owner === this.attempt.owner ? undefined : written.found;
  }

  async #recordStep<T>(name: string, value: T, isOnce: boolean): Promise<T> {
    const { store } = this.attempt.request;
    const encoded = await this.#encode(value, maxStepBytes);
    const step = this.#newStep(name, 'DONE', encoded);
    let written: StepWritten;
    try {
      written = await this.#insist(() => (isOnce ? store.finishStep(step) : store.putStep(step)));
    } catch (cause) {
      // It has happened, and its value is here: the handler may go on. A later attempt would repeat it.
      this.#observeStep(name, 'unrecorded', cause);
      return value;
    }
    if (written.applied || !written.found || written.found.owner === this.attempt.owner) {
      this.#observeStep(name, 'recorded');
      return value;
    }
    return this.#recall<T>(written.found);
  }

  #newStep(name: string, status: 'STARTED' | 'DONE', encoded?: Encoded): NewStep {
    const { pk, window, owner, number: attempt, endsAtMs } = this.attempt;
    return {
      ...{ pk, window, name, status, owner, attempt, endsAtMs },
      ...(encoded && { value: answerIn(encoded) }),
    };
  }

  #observeStep(name: string, outcome: 'recorded' | 'unrecorded', cause?: unknown): void {
    const { pk: operation, number: attempt } = this.attempt;
    this.#settings.observe({
      ...{ type: 'step', operation, attempt, name, outcome },
      ...(cause !== undefined && { cause }),
    });
  }

  // --- sending

  /**
   * Sends a transaction until it is known what became of it. Resolves to `undefined` once it was applied, else to what
   * stopped it.
   *
   * @throws `OUTCOME_UNKNOWN`, `BAD_WRITES`, `STORE_UNAVAILABLE` (nothing was written)
   */
  async #transact(
    what: Pick<TransactionRequest, 'claim' | 'writes' | 'messages'> & { step?: NewStep },
    name: string,
  ): Promise<Cancelled | undefined> {
    const { attempt } = this;
    const { store, clock } = attempt.request;
    const { pk, window, endsAtMs, owner } = attempt;
    const transaction = await store.transact({
      ...{ pk, window, endsAtMs, nowMs: clock.now(), ...what },
      token: tokenOf(owner, String(++this.#calls), name),
    });
    const giveUpAtMs = clock.now() + attempt.settleTimeMs;
    let unknown: unknown;
    for (let pauseMs: number = backoff.firstMs; ; pauseMs = Math.min(pauseMs * 2, backoff.mostMs)) {
      let sent: Transacted | undefined;
      try {
        sent = await inTime(transaction.send(), Math.max(giveUpAtMs - clock.now(), backoff.firstMs));
      } catch (error) {
        if (unknown === undefined && !IdempotencyError.is(error, 'STORE_UNAVAILABLE')) throw error;
        unknown = error;
      }
      switch (sent?.outcome) {
        case 'applied':
          return undefined;
        case 'cancelled':
          if (sent.claim || sent.step || !sent.conflict) return sent;
          break;
        case 'token-reused':
          return this.#readInstead();
        case 'in-progress':
          unknown = new Error('An earlier sending of this transaction is still being processed.');
          break;
        case undefined:
          break;
      }
      if (clock.now() + pauseMs >= giveUpAtMs) {
        if (unknown === undefined) throw this.#raise(conflicts());
        attempt.isOutcomeUnknown = true;
        throw this.#raise(outcomeUnknown(unknown));
      }
      await clock.sleep(pauseMs * (0.5 + Math.random() / 2));
    }
  }

  /** The token did not match the request, so nothing can be learnt by sending it: the record tells. */
  async #readInstead(): Promise<Cancelled> {
    const { attempt } = this;
    const found = await inTime(attempt.request.store.read(attempt.pk), attempt.settleTimeMs);
    if (found?.owner === attempt.owner && found.status === 'IN_PROGRESS') {
      attempt.isOutcomeUnknown = true;
      throw this.#raise(
        outcomeUnknown(new Error('The token of this transaction has been used for another.')),
      );
    }
    return { outcome: 'cancelled', claim: { found }, conflict: false, rejections: [] };
  }

  /** Repeats a single conditional write while it cannot be told what became of it, within the time left. */
  async #insist<T extends Written | StepWritten>(write: () => Promise<T>): Promise<T> {
    const { clock } = this.attempt.request;
    const giveUpAtMs = clock.now() + this.attempt.settleTimeMs;
    for (let pauseMs: number = backoff.firstMs; ; pauseMs = Math.min(pauseMs * 2, backoff.mostMs)) {
      try {
        return await inTime(write(), Math.max(giveUpAtMs - clock.now(), backoff.firstMs));
      } catch (error) {
        const isPassing = IdempotencyError.is(error, 'STORE_UNAVAILABLE');
        if (!isPassing || clock.now() + pauseMs >= giveUpAtMs) {
          if (!isPassing || !this.#isCommitting) throw error;
          this.attempt.isOutcomeUnknown = true;
          throw this.#raise(outcomeUnknown(error));
        }
        await clock.sleep(pauseMs);
      }
    }
  }

  // --- rules

  #enter(what: string, name: string): void {
    this.#refuseWithoutClaim(what);
    this.#refuseLate();
    if (typeof name !== 'string' || name.trim() === '' || name.length > maxNameLength) {
      throw new IdempotencyError(
        'BAD_STEP',
        `Expected ${what} to be given a name of 1 to ${maxNameLength} characters, got ${show(name)}. A later attempt finds the step by it, so it must be the same in every attempt.`,
      );
    }
    if (name === 'commit') {
      throw new IdempotencyError('BAD_STEP', "The name 'commit' is reserved. Give the step another one.");
    }
    if (this.#names.has(name)) {
      throw new IdempotencyError(
        'BAD_STEP',
        `The name ${show(name)} was used before in this attempt. Give each step its own, e.g. with an index: \`charge-\${index}\`.`,
      );
    }
    this.#names.add(name);
    this.attempt.begun = true;
  }

  #refuseLate(): void {
    const { attempt } = this;
    if (attempt.settled) {
      throw new IdempotencyError(
        'NOT_GUARDED',
        'This operation has been settled: its handler has already returned. Await everything before returning.',
        { effect: 'possible' },
      );
    }
    if (this.commitOutcome || this.#isCommitting) {
      throw new IdempotencyError(
        'BAD_STEP',
        'The operation has been committed, which ends it. Do everything else before the commit.',
        { effect: 'possible' },
      );
    }
    if (attempt.isOutcomeUnknown) throw this.#raise(outcomeUnknown(undefined));
    if (this.isClaimed && attempt.leaseLeftMs <= 0) throw this.#raise(leaseIsOver());
  }

  #refuseWithoutClaim(what: string): void {
    if (this.isClaimed) return;
    throw new IdempotencyError(
      'BAD_STEP',
      `${what} needs a claim, and with \`claim: 'at-commit'\` there is none before the commit. Do it all in commit(), or leave \`claim\` as it is by default.`,
    );
  }

  /** Runs `work` at once, and has it waited for before the claim is given up. */
  #track<T>(work: () => Promise<T>): Promise<T> {
    const running = work();
    this.#pending.add(running);
    const over = () => this.#pending.delete(running);
    running.then(over, over);
    return running;
  }

  async #stage(name: string, messages: readonly Message[]): Promise<StagedMessage[]> {
    const { pk, window, request } = this.attempt;
    return staged(messages, {
      pk,
      window,
      name,
      destinations: this.#settings.destinations(),
      seal: request.store.seal,
    });
  }

  #encodeResult(result: unknown): Promise<Encoded> {
    return this.#encode(this.#toStore(result), this.attempt.request.store.maxAnswerBytes);
  }

  #encode(value: unknown, maxBytes: number): Promise<Encoded> {
    const { pk: operation, request, settleTimeMs } = this.attempt;
    return encode(value, { operation, maxBytes, seal: request.store.seal, sealTimeMs: settleTimeMs / 2 });
  }

  #overtaken(record: ClaimRecord | undefined): IdempotencyError {
    return this.#raise(overtaken(record, this.attempt.request.clock.now()));
  }

  #raise(error: IdempotencyError): IdempotencyError {
    this.#raised.add(error);
    return error;
  }
}

const maxNameLength = 255;

const answerIn = (encoded: Encoded) => (encoded.kind === 'bytes' ? encoded.bytes : encoded.reason);

export function rejected({ rejections, conflict }: Cancelled): IdempotencyError {
  if (rejections.length === 0)
    return conflict ? conflicts() : storeUnavailable(new Error('Cancelled without a reason.'));
  const which = rejections.map(({ index, code }) => `${index} (${code})`).join(', ');
  return new IdempotencyError(
    'COMMIT_REJECTED',
    `Nothing was written, for DynamoDB refused of the writes number ${which}. The error's \`rejections\` hold the items that the conditions met.`,
    { rejections },
  );
}

const outcomeUnknown = (cause: unknown): IdempotencyError =>
  new IdempotencyError(
    'OUTCOME_UNKNOWN',
    'A transaction was sent, and it cannot be told whether it was applied. Nothing more is begun; try again with the same key, which finds out.',
    { effect: 'possible', retryAfterSeconds: 1, cause },
  );

const conflicts = (): IdempotencyError =>
  new IdempotencyError(
    'STORE_UNAVAILABLE',
    'Other transactions on the same items were in the way for as long as there was time. This one was not applied; try again.',
    { retryAfterSeconds: 1 },
  );

const indeterminate = (name: string): IdempotencyError =>
  new IdempotencyError(
    'INDETERMINATE',
    `Step ${show(name)} was begun by an earlier attempt and its end was never recorded: it may have happened or not, and it must not be repeated. Somebody has to look downstream.`,
    { effect: 'possible' },
  );

export const leaseIsOver = (): IdempotencyError =>
  new IdempotencyError(
    'OVERTAKEN',
    'The lease of this attempt is over: another attempt may be running. What was begun may have happened.',
    { effect: 'possible' },
  );
