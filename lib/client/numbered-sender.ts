import { IdempotencyError } from '../errors.ts';
import { fenced, inDoubt, mismatch, sequenceGap, storageFailed } from './sender-errors.ts';
import {
  type Delivery,
  type NumberedSenderOptions,
  resolveSenderOptions,
  type SenderEvent,
  type SenderSettings,
  type Sent,
} from './sender-options.ts';
import {
  countOf,
  decodeState,
  type Entry,
  encodePayload,
  encodeState,
  inNewEpoch,
  type Numbered,
  queued,
  renumbered,
  resending,
  type SenderState,
  settled,
} from './sender-state.ts';
import { mostInteger, sequenceHeader } from './sequence-header.ts';
import { RequestTimeoutError } from './timeout-error.ts';
import { anyOf, backoffMs, orAborted, pause } from './waiting.ts';

/** Sends messages one after the other, each of them numbered. */
export interface NumberedSender<Payload, Answer> {
  /**
   * Saves a message, sends it after those before it, and resolves to what became of it.
   *
   * @throws {IdempotencyError} `QUEUE_FULL`, `BAD_PAYLOAD` or `STORAGE_FAILED`: it was not taken; `FENCED`: a newer sender is at work;
   * `PAYLOAD_MISMATCH`: its number was used for another message; `OUTCOME_UNKNOWN`: it was dropped, see `whenInDoubt`
   */
  send(payload: Payload): Promise<Sent<Answer>>;
  /**
   * Saves a message, and resolves once it is saved. It is sent in the background; `observe` is told what became of it.
   *
   * @throws {IdempotencyError} `QUEUE_FULL`, `BAD_PAYLOAD`, `STORAGE_FAILED` or `FENCED`: it was not taken
   */
  enqueue(payload: Payload): Promise<void>;
  /**
   * Sends what is queued, also from an earlier life. Resolves once the queue is empty or the sender pauses, to how many are left.
   *
   * @throws {IdempotencyError} `STORAGE_FAILED`, or `FENCED`
   */
  resume(): Promise<number>;
  /** Ends the attempt and the wait that are under way. Everything stays queued until the next `send`, `enqueue` or `resume`. */
  pause(): Promise<void>;
  /**
   * The messages that are not acknowledged, in their order.
   *
   * @throws {IdempotencyError} `STORAGE_FAILED`
   */
  queued(): Promise<readonly Payload[]>;
}

/**
 * Makes a sender that numbers its messages, for a server whose operations are named by `sequence: numbered()`. A message has the same
 * number in all its attempts, over crashes and reloads too, so that it is processed once; and each is sent after its predecessor is
 * settled, so that they are processed in order.
 *
 * Each life of the sender begins a new epoch, after it has settled what an earlier life had in flight. So an older life, or a copy of
 * the storage, is fenced. Nothing is sent before the first `send`, `enqueue` or `resume`.
 *
 * @throws {IdempotencyError} `BAD_OPTION`, or `BAD_KEY` for the producer
 *
 * @example
 * const sender = numberedSender({ producer: 'till-7', storage: browserStorage('sales'), send: overHttp('/sales') });
 * const sent = await sender.send({ amount: 100 });
 */
export function numberedSender<Payload, Answer>(
  options: NumberedSenderOptions<Payload, Answer>,
): NumberedSender<Payload, Answer> {
  const sender = new Sender(resolveSenderOptions(options));
  return {
    send: (payload) => sender.send(payload),
    enqueue: (payload) => sender.enqueue(payload),
    resume: () => sender.resume(),
    pause: () => sender.pause(),
    queued: () => sender.queued(),
  };
}

/** Who waits for a message. */
interface Waiting<Answer> {
  saved(): void;
  settled(sent: Sent<Answer>): void;
  failed(error: unknown): void;
}

interface Held<Answer> extends Entry {
  /** Nobody waits for a message of an earlier life, nor for one that was told to be queued. */
  waiting?: Waiting<Answer> | undefined;
  /** Whether an attempt may have been processed. */
  isInDoubt: boolean;
  /** Whether it was told what became of it. */
  isSettled?: boolean;
}

type Head<Answer> = Numbered<Held<Answer>>;
type State<Answer> = SenderState<Held<Answer>>;
/** What ends the attempts of a message. `paused`: it stays queued. */
type End<Answer> =
  | Exclude<Delivery<Answer>, { outcome: 'unanswered' | 'not-accepted' }>
  | { readonly outcome: 'paused'; readonly cause: unknown };

class Sender<Payload, Answer> {
  readonly #settings: SenderSettings<Payload, Answer>;
  /** As it was saved last. */
  #state: State<Answer> | undefined;
  #savedText: string | undefined;
  #hasBegun = false;
  /** Messages that are not in the state yet. */
  #accepted: Held<Answer>[] = [];
  /** Changes of the state are made one after the other, each on what the one before has saved. */
  #changes: Promise<unknown> = Promise.resolve();
  #pendingChanges = 0;
  #running: Promise<void> | undefined;
  /** Whether this sender may change the state now. */
  #isOpen = false;
  /** Until when a run takes more messages. Others who share the storage have their turn after those that it has. */
  #turnEndsAtMs = 0;
  #abort = new AbortController();
  #fenced: IdempotencyError | undefined;
  /** What the last run failed of. */
  #failure: unknown;

  constructor(settings: SenderSettings<Payload, Answer>) {
    this.#settings = settings;
  }

  send(payload: Payload): Promise<Sent<Answer>> {
    return new Promise((resolve, reject) => {
      this.#accept(payload, { saved() {}, settled: resolve, failed: reject });
    });
  }

  enqueue(payload: Payload): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#accept(payload, { saved: resolve, settled: () => resolve(), failed: reject });
    });
  }

  async resume(): Promise<number> {
    if (!this.#fenced) await this.#run();
    if (this.#fenced) throw this.#fenced;
    if (this.#failure) throw this.#failure;
    return countOf(this.#state);
  }

  async pause(): Promise<void> {
    this.#abort.abort(new DOMException('The sender was paused.', 'AbortError'));
    await this.#running;
  }

  async queued(): Promise<readonly Payload[]> {
    const { storage } = this.#settings;
    const state = this.#state && !storage.exclusively ? this.#state : this.#decode(await this.#loadText());
    const held = [...(state?.numbered.map(({ entry }) => entry) ?? []), ...(state?.queue ?? [])];
    return [...held, ...this.#accepted].map(({ payload }) => JSON.parse(payload));
  }

  // --- Messages come in ---

  #accept(payload: Payload, waiting: Waiting<Answer>): void {
    if (this.#fenced) throw this.#fenced;
    const entry = { payload: encodePayload(payload), waiting, isInDoubt: false };
    // Between two runs, others may have sent what is in a shared storage. Then the next run finds out.
    const isKnown = this.#isOpen || !this.#settings.storage.exclusively;
    const held = isKnown ? countOf(this.#state) : 0;
    if (held + this.#accepted.length >= this.#settings.maxQueued) throw this.#full();
    this.#accepted.push(entry);
    // A run that is under way saves it at once; else it is the first thing that the next run does.
    if (this.#isOpen) void this.#absorb();
    void this.#run();
  }

  #full(): IdempotencyError {
    return new IdempotencyError(
      'QUEUE_FULL',
      `The sender holds ${this.#settings.maxQueued} messages that are not acknowledged (\`maxQueued\`). This one was not taken; send it again later.`,
    );
  }

  /** Saves what was accepted. Those who wait are told where that fails; it does not fail itself. */
  async #absorb(): Promise<void> {
    let taken: Held<Answer>[] = [];
    try {
      await this.#change((state) => {
        const room = this.#settings.maxQueued - countOf(state);
        taken = this.#takesMore() ? this.#accepted.splice(0) : [];
        // Other tabs fill the same queue.
        for (const entry of taken.splice(Math.max(0, room))) entry.waiting?.failed(this.#full());
        return taken.length === 0 ? state : queued(state, taken);
      });
      for (const { waiting } of taken) waiting?.saved();
    } catch (error) {
      for (const { waiting } of taken) waiting?.failed(error);
    }
  }

  // --- A run: as long as there is something to send, and nothing stops it ---

  #run(): Promise<void> {
    this.#running ??= this.#start();
    return this.#running;
  }

  async #start(): Promise<void> {
    const { storage } = this.#settings;
    this.#abort = new AbortController();
    this.#failure = undefined;
    // So that `#running` is set before the run can end.
    await Promise.resolve();
    if (!storage.exclusively) return this.#work();
    let hasWorked = false;
    try {
      await storage.exclusively(async () => {
        hasWorked = true;
        await this.#work();
      });
    } catch (cause) {
      if (!hasWorked) this.#refuseAll(storageFailed(cause));
    }
  }

  async #work(): Promise<void> {
    try {
      await this.#load();
    } catch (error) {
      this.#refuseAll(error);
      return;
    }
    const { clock, storage, deadlineMs } = this.#settings;
    this.#turnEndsAtMs = clock.now() + (storage.exclusively ? deadlineMs : Number.POSITIVE_INFINITY);
    this.#isOpen = true;
    let cause: unknown;
    try {
      const stopped = await this.#sendAll();
      if (stopped === undefined) return;
      cause = stopped.cause;
    } catch (error) {
      if (IdempotencyError.is(error, 'FENCED')) this.#fenced = error;
      else this.#failure = error;
      cause = error;
    }
    await this.#leave(cause);
  }

  /** Sends until the queue is empty, or something stops it. */
  async #sendAll(): Promise<{ readonly cause: unknown } | undefined> {
    for (;;) {
      await this.#absorb();
      const head = this.#state?.numbered[0];
      if (head === undefined) {
        if (this.#hasMore()) continue;
        this.#close();
        return undefined;
      }
      const end = await this.#deliver(head);
      const stopped = end.outcome === 'paused' ? end : await this.#settle(head, end);
      if (stopped) return stopped;
    }
  }

  /** Tells everybody who waits that the sender stops, those too who come meanwhile. */
  async #leave(cause: unknown): Promise<void> {
    do {
      await this.#absorb();
      const { numbered = [], queue = [] } = this.#state ?? {};
      for (const entry of [...numbered.map((one) => one.entry), ...queue]) {
        if (this.#fenced) entry.waiting?.failed(this.#fenced);
        else entry.waiting?.settled({ outcome: 'queued', cause });
        entry.waiting = undefined;
      }
    } while (this.#hasMore());
    if (this.#fenced) for (const { waiting } of this.#accepted.splice(0)) waiting?.failed(this.#fenced);
    this.#close();
    this.#tell(this.#fenced ? { type: 'fenced' } : { type: 'paused', cause });
  }

  #takesMore(): boolean {
    return this.#settings.clock.now() < this.#turnEndsAtMs;
  }

  #hasMore(): boolean {
    return (this.#accepted.length > 0 && this.#takesMore()) || this.#pendingChanges > 0;
  }

  /** Ends a run. In the same breath as the look for more: what is accepted from here on needs a run of its own. */
  #close(): void {
    this.#isOpen = false;
    this.#running = undefined;
    if (this.#accepted.length > 0) void this.#run();
  }

  /** Ends a run that could not load its state. */
  #refuseAll(error: unknown): void {
    this.#failure = error;
    for (const { waiting } of this.#accepted.splice(0)) waiting?.failed(error);
    this.#close();
    this.#tell({ type: 'paused', cause: error });
  }

  // --- One message ---

  /** Sends a message until its outcome is known, or attempts or time run out. */
  async #deliver(head: Head<Answer>): Promise<End<Answer>> {
    const { clock, maxAttempts, deadlineMs } = this.#settings;
    const { signal } = this.#abort;
    const endsAtMs = clock.now() + deadlineMs;
    for (let attempt = 1; ; attempt++) {
      if (signal.aborted) return { outcome: 'paused', cause: signal.reason };
      const delivery = await this.#tryOnce(head, attempt, endsAtMs);
      if (signal.aborted && delivery.outcome === 'unanswered') {
        return { outcome: 'paused', cause: signal.reason };
      }
      if (delivery.outcome === 'not-accepted') return { outcome: 'paused', cause: delivery.cause };
      // A server that expects this very number was not ready for it.
      const isUnready = delivery.outcome === 'gap' && delivery.expectedNumber === head.number;
      if (delivery.outcome !== 'unanswered' && !isUnready) return delivery;

      const { epoch, number } = head;
      const cause = 'cause' in delivery ? delivery.cause : sequenceGap(number);
      const delayMs = (delivery.retryAfterMs ?? 0) + backoffMs(this.#settings, attempt);
      if (attempt >= maxAttempts || clock.now() + delayMs >= endsAtMs) return { outcome: 'paused', cause };
      this.#tell({ type: 'retry', epoch, number, attempt, delayMs, cause });
      await pause(clock, delayMs, signal).catch(() => {
        // The next turn of the loop sees it.
      });
    }
  }

  async #tryOnce(
    { epoch, number, entry }: Head<Answer>,
    attempt: number,
    endsAtMs: number,
  ): Promise<Delivery<Answer>> {
    const { clock, producer, send, attemptTimeoutMs } = this.#settings;
    const place = { producer, epoch, number };
    const limitMs = Math.min(attemptTimeoutMs, endsAtMs - clock.now());
    const timeout = new AbortController();
    const stopTimeout = clock.after(limitMs, () =>
      timeout.abort(new RequestTimeoutError('attempt', limitMs, attempt, sequenceHeader(place))),
    );
    const signal = anyOf(this.#abort.signal, timeout.signal);
    let delivery: Delivery<Answer>;
    try {
      const payload = JSON.parse(entry.payload) as Payload;
      const sending = (async () => send({ ...place, payload, attempt, signal }))();
      delivery = checked(await orAborted(sending, signal));
    } catch (cause) {
      delivery = { outcome: 'unanswered', cause };
    } finally {
      stopTimeout();
    }
    if (delivery.outcome === 'unanswered') entry.isInDoubt = true;
    return delivery;
  }

  /** Saves what became of a message, and tells who waits for it. Resolves to what stops the sender, if something does. */
  async #settle(
    head: Head<Answer>,
    end: Exclude<End<Answer>, { outcome: 'paused' }>,
  ): Promise<{ readonly cause: unknown } | undefined> {
    const { keepAcknowledged } = this.#settings;
    const { epoch, number } = head;
    switch (end.outcome) {
      case 'answered': {
        const { answer } = end;
        const isKept = !end.isRefusal && !head.entry.isSettled;
        return this.#finish(
          head,
          { outcome: 'answered', answer, epoch, number },
          isKept ? keepAcknowledged : 0,
        );
      }
      case 'done':
        return this.#finish(head, { outcome: 'done', epoch, number }, 0);
      case 'gap':
        return this.#closeGap(head, end.expectedNumber);
      case 'mismatch':
        return this.#fail(head, 'mismatch', mismatch());
      case 'fenced':
        this.#fenced = fenced();
        return { cause: this.#fenced };
    }
  }

  async #finish(
    head: Head<Answer>,
    sent: Exclude<Sent<Answer>, { outcome: 'queued' }>,
    keep: number,
  ): Promise<undefined> {
    const { entry, epoch, number } = head;
    try {
      await this.#change((state) => settled(state, keep));
    } finally {
      // It is done, whether or not that could be saved: if not, a later life hears it once more.
      entry.waiting?.settled(sent);
      entry.waiting = undefined;
      if (!entry.isSettled) {
        this.#tell({ type: 'settled', epoch, number, payload: JSON.parse(entry.payload), sent });
      }
      entry.isSettled = true;
    }
  }

  /** Fails a message, and sends what follows in a new epoch: whoever used its number may have used theirs. */
  async #fail(head: Head<Answer>, reason: 'mismatch' | 'gap', error: IdempotencyError): Promise<undefined> {
    const { entry, epoch, number } = head;
    try {
      await this.#changeEpoch(reason, (state, proposed) => renumbered(settled(state, 0), proposed));
    } finally {
      entry.waiting?.failed(error);
      entry.waiting = undefined;
      const sent = { outcome: 'failed', error } as const;
      this.#tell({ type: 'settled', epoch, number, payload: JSON.parse(entry.payload), sent });
      entry.isSettled = true;
    }
  }

  async #closeGap(
    head: Head<Answer>,
    expectedNumber: number,
  ): Promise<{ readonly cause: unknown } | undefined> {
    const { epoch, number, entry } = head;
    if (expectedNumber > number) return this.#finish(head, { outcome: 'done', epoch, number }, 0);
    if (this.#state && resending(this.#state, expectedNumber)) {
      await this.#change((state) => resending(state, expectedNumber) ?? state);
      this.#tell({ type: 'resend', epoch, number: expectedNumber });
      return undefined;
    }
    // The server forgot the sender, or the predecessor was refused before it was counted.
    const { whenInDoubt } = this.#settings;
    if (!entry.isInDoubt || whenInDoubt === 'resend') {
      await this.#changeEpoch('gap', renumbered);
      return undefined;
    }
    if (whenInDoubt === 'drop') return this.#fail(head, 'gap', inDoubt());
    return { cause: inDoubt() };
  }

  // --- The state ---

  /** Loads the state; the first time, begins a new epoch. */
  async #load(): Promise<void> {
    if (this.#hasBegun && !this.#settings.storage.exclusively) return;
    const text = await this.#loadText();
    if (this.#hasBegun && text !== undefined && text === this.#savedText) return;
    const found = this.#decode(text);
    // Only the first one may have been sent by whoever saved this.
    const head = found?.numbered[0];
    if (head) head.entry.isInDoubt = true;
    this.#state = found;
    this.#savedText = text;
    if (this.#hasBegun && found) return;
    const reason = found ? 'start' : text === undefined ? 'no-state' : 'bad-state';
    await this.#changeEpoch(reason, inNewEpoch);
    this.#hasBegun = true;
  }

  async #loadText(): Promise<string | undefined> {
    try {
      const text: unknown = (await this.#settings.storage.load()) ?? undefined;
      if (text === undefined || typeof text === 'string') return text;
    } catch (cause) {
      throw storageFailed(cause);
    }
    // It may be messages in another form, which the next save would overwrite.
    throw storageFailed(new TypeError('Expected `load` to return what `save` was given, a string.'));
  }

  #decode(text: string | undefined): State<Answer> | undefined {
    if (text === undefined) return undefined;
    return decodeState(this.#settings.producer, text, (payload) => ({ payload, isInDoubt: false }));
  }

  async #changeEpoch(
    reason: Extract<SenderEvent<Payload, Answer>, { type: 'epoch' }>['reason'],
    next: (state: State<Answer>, proposed: number) => State<Answer>,
  ): Promise<void> {
    const { epoch = () => Math.floor(this.#settings.clock.now()) } = this.#settings;
    await this.#change((state) => {
      const proposed = epoch();
      const begun = next(state, Number.isSafeInteger(proposed) && proposed >= 0 ? proposed : Number.NaN);
      if (begun.epoch <= mostInteger) return begun;
      throw new IdempotencyError(
        'BAD_OPTION',
        'Expected `epoch` to return a whole number of at most 15 digits.',
      );
    });
    this.#tell({ type: 'epoch', epoch: this.#state?.epoch ?? 0, reason });
  }

  /** Saves what `next` makes of the state. If that fails, the state is as before. */
  #change(next: (state: State<Answer>) => State<Answer>): Promise<void> {
    this.#pendingChanges++;
    const change = this.#changes
      .then(async () => {
        const state = next(this.#state as State<Answer>);
        if (state === this.#state) return;
        const text = encodeState(this.#settings.producer, state);
        await this.#save(text);
        this.#state = state;
        this.#savedText = text;
      })
      .finally(() => {
        this.#pendingChanges--;
      });
    this.#changes = change.catch(() => {});
    return change;
  }

  async #save(text: string): Promise<void> {
    try {
      await this.#settings.storage.save(text);
    } catch (cause) {
      throw IdempotencyError.is(cause, 'FENCED') ? cause : storageFailed(cause);
    }
  }

  #tell(event: SenderEvent<Payload, Answer>): void {
    try {
      this.#settings.observe?.(event);
    } catch {
      // Whoever watches must not stop the sender.
    }
  }
}

function checked<Answer>(delivery: Delivery<Answer>): Delivery<Answer> {
  const outcomes: Record<Delivery<Answer>['outcome'], true> = {
    ...{ answered: true, done: true, unanswered: true, 'not-accepted': true },
    ...{ gap: true, mismatch: true, fenced: true },
  };
  const { outcome } = delivery ?? {};
  if (typeof outcome === 'string' && Object.hasOwn(outcomes, outcome)) return delivery;
  const cause = new IdempotencyError('BAD_OPTION', 'Expected `send` to return an object with an `outcome`.');
  return { outcome: 'not-accepted', cause };
}
