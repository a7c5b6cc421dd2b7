/** One lane: callers, network, function and effect, with a guard or without. */
import { IdempotencyError } from '../errors.ts';
import type { IdempotencyEvent } from '../observe/index.ts';
import { memoryStore } from '../store/index.ts';
import { Counts } from './counts.ts';
import { type Answer, Environment, Fleet, type Guarded, type Invocation } from './environment.ts';
import { chargesTable, guardedIn, type HandlerParts, handlerIn } from './handler.ts';
import { meteredStore } from './metered-store.ts';
import { type CallerOutcome, OpenOperation } from './open-operation.ts';
import type { SimulationSettings } from './settings.ts';
import { type Draws, purpose } from './time/draws.ts';
import { currentPlace, inPlace } from './time/timers.ts';
import type { Cancel, VirtualTime } from './time/virtual-time.ts';
import type { LaneName, TimeLineKind } from './time-line.ts';
import { type Intent, keysCollide } from './traffic.ts';

export interface LaneParts {
  readonly name: LaneName;
  readonly settings: SimulationSettings;
  readonly time: VirtualTime;
  readonly startMs: number;
  readonly draws: Draws;
  /** Is told what the guard's observer is told. */
  readonly observe?: ((event: IdempotencyEvent) => void) | undefined;
  /** An operation is over: its caller knows its outcome or has given up, and nothing of it is under way. */
  readonly over: (operation: OpenOperation, lane: LaneName) => void;
}

/** Of a second click. Attempts have their numbers, from 1. */
const fateOfSecond = 0;

const failed: Answer = { kind: 'failed', retryAfterMs: 0 };

export class Lane {
  readonly counts = new Counts();
  readonly #parts: LaneParts;
  readonly #open = new Map<number, OpenOperation>();
  readonly #store;
  readonly #fleet: Fleet;
  readonly #handlerParts: HandlerParts;
  readonly #remembered = new Map<string, number>();
  #storeRequests = 0;
  #drawn = 0;

  constructor(parts: LaneParts) {
    const { settings, time, draws } = parts;
    this.#parts = parts;
    this.#store = memoryStore({
      clock: { now: () => time.nowMs, sleep: () => Promise.resolve() },
      keepsHistory: false,
      tables: { prepare: (stored) => ({ rejections: [], apply: () => this.#committed(stored) }) },
    });
    this.#handlerParts = {
      ...{ settings, draws },
      began: (environment, invocation) => {
        this.counts.runs++;
        this.#note(invocation, 'began', environment);
      },
      act: (invocation, token) => this.#act(invocation, token),
      crash: (environment, invocation) => {
        this.counts.crashes++;
        this.#die(environment, invocation, 'crashed');
      },
    };
    this.#fleet = new Fleet(settings.environments, (number) => this.#environment(number));
  }

  get isGuarded(): boolean {
    return this.#parts.name === 'with';
  }

  /** A caller begins an operation. */
  begin(intent: Intent): void {
    const { settings, time, draws } = this.#parts;
    const operation = new OpenOperation(intent, time.nowMs);
    this.#open.set(intent.number, operation);
    this.counts.operations++;
    const isTwice = draws.isTrue(purpose.doubleSend, settings.doubleSendRate, intent.number);
    this.#ask(operation, 1);
    if (!isTwice) return;
    // Whoever clicks twice does so whatever came of the first click.
    operation.underWay++;
    time.after(settings.doubleSendGapMs, () => {
      operation.underWay--;
      this.#send(operation, fateOfSecond);
      this.#endIfOver(operation);
    });
  }

  /** An operation whose requests come from a log, until it is closed. */
  open(intent: Intent): OpenOperation {
    const operation = new OpenOperation(intent, this.#parts.time.nowMs);
    operation.isHeld = true;
    this.#open.set(intent.number, operation);
    this.counts.operations++;
    return operation;
  }

  /** One of its requests. */
  request(operation: OpenOperation, amount: number): void {
    this.#send(operation, operation.requests + 1, undefined, amount);
  }

  /** No further request will come. */
  close(operation: OpenOperation): void {
    operation.isHeld = false;
    operation.outcome ??= 'abandoned';
    this.#endIfOver(operation);
  }

  /** A caller's or a queue's own request, with the next one if it fails. */
  #ask(operation: OpenOperation, attempt: number): void {
    const { settings, time } = this.#parts;
    const isClient = settings.delivery === 'client';
    const again = (pauseMs: number) => {
      if (attempt >= settings.maxAttempts) this.#end(operation, 'abandoned');
      else {
        time.after(pauseMs, () => {
          if (operation.outcome === undefined) this.#ask(operation, attempt + 1);
        });
      }
    };
    let isOver = false;
    const stopWaiting: Cancel = time.after(
      isClient ? settings.clientTimeoutMs : settings.visibilityTimeoutMs,
      () => {
        isOver = true;
        if (operation.outcome !== undefined) return;
        operation.note(this.#nowMs, request, 'timed-out');
        again(isClient ? this.#backoffMs(operation, attempt) : 0);
      },
    );
    const request = this.#send(operation, attempt, (answer) => {
      if (operation.outcome !== undefined) return stopWaiting();
      if (answer.kind === 'done') {
        stopWaiting();
        this.#succeed(operation, request);
        return;
      }
      // A client has turned away from a request it no longer waits for; a queue takes no notice of failures.
      if (isOver || !isClient) return;
      isOver = true;
      stopWaiting();
      operation.note(this.#nowMs, request, 'got-error');
      if (answer.kind === 'refused') this.#end(operation, 'refused');
      else again(Math.max(this.#backoffMs(operation, attempt), answer.retryAfterMs));
    });
  }

  #backoffMs({ intent }: OpenOperation, attempt: number): number {
    const { backoffMs, backoffMaxMs } = this.#parts.settings;
    const mostMs = Math.min(backoffMs * 2 ** (attempt - 1), backoffMaxMs);
    return mostMs * (1 - this.#parts.draws.fraction(purpose.backoff, intent.number, attempt) / 2);
  }

  /** @returns the number of the request */
  #send(
    operation: OpenOperation,
    fate: number,
    answered?: (answer: Answer) => void,
    amount = operation.intent.amount,
  ): number {
    const { settings, time, draws } = this.#parts;
    const { number } = operation.intent;
    const request = ++operation.requests;
    this.counts.requests++;
    operation.note(this.#nowMs, request, 'sent');
    if (draws.isTrue(purpose.requestLost, settings.requestLossRate, number, fate)) {
      operation.note(this.#nowMs, request, 'request-lost');
      return request;
    }
    const isLate = draws.isTrue(purpose.requestLate, settings.lateRate, number, fate);
    if (isLate) operation.note(this.#nowMs, request, 'request-late');
    const delayMs = this.#networkMs(purpose.requestDelay, number, fate) + (isLate ? settings.lateMs : 0);
    operation.underWay++;
    const reply = (answer: Answer) =>
      this.#reply({ operation, request, fate }, answer, answered ?? this.#second(operation, request));
    time.after(delayMs, () => this.#arrive({ operation, request, fate, amount, reply }));
    return request;
  }

  /** The second one of a double sending: its success is the caller's, its failure is nobody's. */
  #second(operation: OpenOperation, request: number): (answer: Answer) => void {
    return ({ kind }) => {
      if (kind === 'done' && operation.outcome === undefined) this.#succeed(operation, request);
    };
  }

  #networkMs(of: typeof purpose.requestDelay | typeof purpose.answerDelay, number: number, fate: number) {
    const { networkP50Ms: p50Ms, networkP99Ms: p99Ms } = this.#parts.settings;
    return this.#parts.draws.milliseconds(of, { p50Ms, p99Ms }, number, fate);
  }

  #arrive(invocation: Invocation): void {
    const { settings, time, draws } = this.#parts;
    const { operation, fate, amount } = invocation;
    this.counts.calls++;
    if (operation.calls++ > 0) this.counts.repeats++;
    const environment = this.#fleet.take(draws.fraction(purpose.environment, operation.intent.number, fate));
    environment.invocation = invocation;
    this.#note(invocation, 'arrived', environment);
    const untilMs = time.nowMs + settings.functionTimeoutMs;
    const stopClock = time.after(settings.functionTimeoutMs, () => {
      if (environment.isDead || environment.invocation !== invocation) return;
      this.counts.timeouts++;
      this.#die(environment, invocation, 'killed');
    });
    const { key, order } = operation.intent;
    const context = { getRemainingTimeInMillis: () => untilMs - time.nowMs };
    const end = (answer: Answer, kind: TimeLineKind) => {
      if (environment.isDead) return;
      stopClock();
      this.#note(invocation, kind, environment);
      environment.invocation = undefined;
      this.#fleet.giveBack(environment);
      invocation.reply(answer);
    };
    inPlace(environment, () => {
      environment.guarded({ key, body: { order, amount } }, context).then(
        () => end({ kind: 'done' }, 'answered'),
        (error: unknown) => end(answerOf(error), 'threw'),
      );
    });
  }

  #die(environment: Environment, invocation: Invocation, kind: 'crashed' | 'killed'): void {
    environment.isDead = true;
    this.#note(invocation, kind, environment);
    this.#fleet.giveBack(this.#environment(environment.number));
    invocation.reply(failed);
  }

  #reply(
    { operation, request, fate }: Pick<Invocation, 'operation' | 'request' | 'fate'>,
    answer: Answer,
    deliver: (answer: Answer) => void,
  ): void {
    const { settings, time, draws } = this.#parts;
    const { number } = operation.intent;
    const isLost = draws.isTrue(purpose.answerLost, settings.answerLossRate, number, fate);
    const isLate = !isLost && draws.isTrue(purpose.answerLate, settings.lateRate, number, fate);
    if (isLost || isLate) operation.note(this.#nowMs, request, isLost ? 'answer-lost' : 'answer-late');
    if (!isLost) {
      const delayMs = this.#networkMs(purpose.answerDelay, number, fate) + (isLate ? settings.lateMs : 0);
      time.after(delayMs, () => deliver(answer));
    }
    operation.underWay--;
    this.#endIfOver(operation);
  }

  #succeed(operation: OpenOperation, request: number): void {
    operation.note(this.#nowMs, request, 'got-answer');
    operation.answeredAfterMs = this.#parts.time.nowMs - operation.startedAtMs;
    this.counts.latency.add(operation.answeredAfterMs);
    this.#end(operation, 'answered');
  }

  #end(operation: OpenOperation, outcome: CallerOutcome): void {
    if (outcome === 'abandoned') operation.note(this.#nowMs, operation.requests, 'gave-up');
    operation.outcome = outcome;
    this.#endIfOver(operation);
  }

  #endIfOver(operation: OpenOperation): void {
    if (!operation.isOver || !this.#open.delete(operation.intent.number)) return;
    const { counts } = this;
    const { outcome, effects, requests, pk } = operation;
    const isRetried = requests > 1;
    if (isRetried) counts.retried++;
    if (outcome === 'answered') {
      counts.answered++;
      if (isRetried) counts.answeredAfterRetry++;
      if (effects === 0) counts.lostEffects++;
    } else if (outcome === 'refused') {
      counts.refused++;
    } else {
      counts.abandoned++;
      if (effects > 0) counts.abandonedWithEffect++;
    }
    if (pk !== undefined) this.#forget(pk);
    this.#parts.over(operation, this.#parts.name);
  }

  /** A record that nobody can ask for is dropped at once; one that another operation's key may meet, when its window is over. */
  #forget(pk: string): void {
    const { settings, time } = this.#parts;
    if (!keysCollide(settings)) {
      this.#store.forget(pk);
      return;
    }
    this.#remembered.delete(pk);
    this.#remembered.set(pk, time.nowMs + settings.windowSeconds * 1000 + 1000);
    for (const [oldest, untilMs] of this.#remembered) {
      if (untilMs > time.nowMs) break;
      this.#remembered.delete(oldest);
      this.#store.forget(oldest);
    }
  }

  #act({ operation, request }: Pick<Invocation, 'operation' | 'request'>, token?: string): void {
    if (token !== undefined && this.#parts.settings.downstreamKnowsTokens) {
      operation.tokens ??= new Set();
      if (operation.tokens.has(token)) {
        operation.note(this.#nowMs, request, 'effect-known');
        return;
      }
      operation.tokens.add(token);
    }
    const { counts } = this;
    counts.effects++;
    operation.effects++;
    if (operation.effects > 1) counts.doubleEffects++;
    if (operation.effects === 2) counts.doubledOperations++;
    operation.note(this.#nowMs, request, operation.effects === 1 ? 'effect' : 'effect-again');
  }

  #committed(stored: readonly object[]): void {
    for (const write of stored) {
      const { TableName, Item } = (write as { Put: { TableName: string; Item: Charge } }).Put;
      const operation = this.#open.get(Number(Item.number.N));
      if (TableName === chargesTable && operation) {
        this.#act({ operation, request: Number(Item.request.N) });
      }
    }
  }

  #environment(number: number): Environment {
    const { settings, time, draws } = this.#parts;
    const skewMs = Math.round((draws.fraction(purpose.skew, number) * 2 - 1) * settings.clockSkewMs);
    const drawn = () => draws.fraction(purpose.engine, this.#drawn++);
    return new Environment(number, time, skewMs, drawn, (environment) => this.#guardIn(environment));
  }

  #guardIn(environment: Environment): Guarded {
    if (!this.isGuarded) return handlerIn(environment, 'none', this.#handlerParts);
    const { settings, time, draws } = this.#parts;
    const { storeP50Ms: p50Ms, storeP99Ms: p99Ms } = settings;
    const store = meteredStore(this.#store, environment, {
      counts: this.counts,
      latencyMs: () => draws.milliseconds(purpose.store, { p50Ms, p99Ms }, this.#storeRequests++),
      after: (delayMs, happen) => void time.after(delayMs, happen),
    });
    return guardedIn(environment, this.#handlerParts, store, (event) => this.#observe(event));
  }

  #observe(event: IdempotencyEvent): void {
    this.counts.observe(event);
    this.#parts.observe?.(event);
    const environment = currentPlace() as Environment | undefined;
    const invocation = environment?.invocation;
    if (!environment || !invocation) return;
    if ('operation' in event) invocation.operation.pk = event.operation;
    this.#note(invocation, event.type, environment);
  }

  get #nowMs(): number {
    return this.#parts.time.nowMs - this.#parts.startMs;
  }

  #note({ operation, request }: Invocation, kind: TimeLineKind, environment: Environment): void {
    operation.note(this.#nowMs, request, kind, environment.number);
  }
}

interface Charge {
  readonly number: { readonly N: string };
  readonly request: { readonly N: string };
}

/** What the caller of a function that threw is told. */
function answerOf(error: unknown): Answer {
  if (!IdempotencyError.is(error)) return failed;
  if (error.code === 'PAYLOAD_MISMATCH') return { kind: 'refused' };
  return { kind: 'failed', retryAfterMs: (error.retryAfterSeconds ?? 0) * 1000 };
}
