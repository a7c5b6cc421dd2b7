/**
 * Senders that number what they send, as tills and devices do. Each sends one message after the other and sends it again where it is
 * not answered. It may lose its count and begin a new epoch, and its double may go on in the old one.
 */
import type { Context } from 'aws-lambda';
import { IdempotencyError, idempotent, numbered, operation } from '../../../lib/index.ts';
import { numberedAuditors, placesAsked } from '../auditors/numbered.ts';
import { effectsTable } from '../simulation/database.ts';
import type { CallOutcome } from '../simulation/history.ts';
import { namespace, senderPkOf, type World } from '../simulation/world.ts';
import { Fleet } from './fleet.ts';
import { type Level, levels } from './levels.ts';
import { type Plan, planOf } from './plan.ts';
import { sealIn } from './seal.ts';
import { Stream } from './stream.ts';
import { watchSenders } from './watch-senders.ts';
import type { Workload } from './workload.ts';

/** One message of a sender. */
export interface Numbered {
  readonly tenant: string;
  readonly producer: string;
  readonly epoch: number;
  readonly number: number;
  readonly payload: string;
}

type Guarded = (message: Numbered, context: Context | undefined) => Promise<unknown>;

const tenant = 'shop';
const mostTries = 6;
/** Of one sender. A handler whose answers are never remembered would be asked for ever. */
const mostSendings = 60;

export const numberedSenders: readonly Workload[] = levels
  .filter(({ http }) => http === undefined)
  .map((level) => ({
    name: `numbered, ${level.name}`,
    auditors: numberedAuditors,
    async run(world, untilQuiet) {
      const drawn = planOf(world.chance, { http: 'never' });
      const { cache: _, ...options } = drawn.options;
      const plan = { ...drawn, options };
      const run = new Run(world, level, plan);
      watchSenders(world);
      const senders = ['till 1', 'till 2']
        .slice(0, world.chance.between('senders', 1, 2))
        .map((producer) => new Sender(world, run, producer, 0, messagesOf(world, producer)));
      for (const sender of senders) {
        world.time.after(world.chance.between('start', 0, 1_000), () => sender.next());
      }
      await untilQuiet();
      world.faults.areOver = true;
      world.time.nowMs = Math.max(world.time.nowMs, lastLease(world)) + 61_000;
      await run.probe(untilQuiet);
      run.stream.check();
      run.count();
    },
  }));

const messagesOf = ({ chance }: World, producer: string): string[] =>
  Array.from({ length: chance.between(`messages of ${producer}`, 1, 9) }, (_, index) => `sale ${index + 1}`);

const pkAt = ({ producer, epoch, number }: Numbered): string =>
  `${senderPkOf(tenant, producer)}:${epoch}:${number}`;

/** The guarded handler, and who has sent it what. */
class Run {
  readonly stream: Stream;
  readonly #world: World;
  readonly #level: Level;
  readonly #plan: Plan;
  readonly #fleet: Fleet<Guarded>;
  /** What each sender has sent in each epoch, by number: all payloads of a number, of which one counts. */
  readonly #sent = new Map<string, Numbered[][]>();

  constructor(world: World, level: Level, plan: Plan) {
    this.#world = world;
    this.#level = level;
    this.#plan = plan;
    const seal = plan.isSealed ? sealIn(world) : undefined;
    this.stream = new Stream(world, seal);
    this.#fleet = new Fleet(world, plan.runtime, (sandbox) => {
      const options = {
        ...{ store: world.store(sandbox, seal), namespace, observe: world.observe, destinations: ['mail'] },
        ...{
          remember: ({ value }: { readonly value: unknown }) =>
            (value as { isPassing?: boolean } | undefined)?.isPassing !== true,
        },
        ...plan.options,
        ...level.options,
        ...{ tenant: () => tenant, sequence: numbered((message: Numbered) => message) },
        ...(sandbox.name.startsWith('probe') && { lease: { seconds: 60 } }),
      };
      const guarded = idempotent(
        (message: Numbered, context: Context) => this.#handle(message, context),
        options as never,
      ) as Guarded;
      return (message, context) => guarded({ ...message }, context);
    });
  }

  send(message: Numbered, ended: (outcome: CallOutcome) => void, isProbe = false): void {
    const inEpoch = `${message.producer} ${message.epoch}`;
    const sent = this.#sent.get(inEpoch) ?? [];
    const same = sent[message.number] ?? [];
    if (!same.some(({ payload }) => payload === message.payload)) sent[message.number] = [...same, message];
    this.#sent.set(inEpoch, sent);
    const { sandbox, guarded } = isProbe ? this.#fleet.pick('probe') : this.#fleet.pick();
    const claimsAtCommit = this.#level.claimsAtCommit === true;
    const key = `${message.producer} ${message.epoch}.${message.number}`;
    const about = {
      tenant,
      key,
      payload: message.payload,
      pks: [pkAt(message), senderPkOf(tenant, message.producer)],
      isProbe,
      claimsAtCommit,
    };
    const deadline = isProbe ? undefined : this.#fleet.deadline;
    const { producer, epoch, number } = message;
    const call = this.#world.invoke(sandbox, about, (context) => guarded(message, context), deadline, ended);
    const place = { call: call.id, sender: senderPkOf(tenant, producer), epoch, number };
    this.#world.history.facts(placesAsked).push(place);
  }

  /** Everything of the newest epochs is sent once more, in order: what is done is not done again, and nothing is stuck. */
  async probe(untilQuiet: () => Promise<void>): Promise<void> {
    for (const sent of this.#newest()) {
      for (const payloads of sent) {
        let isOver = false;
        for (const message of payloads) {
          this.send(
            message,
            (outcome) => {
              isOver ||= isEnded(outcome);
            },
            true,
          );
          await untilQuiet();
        }
        // What comes behind one that cannot be done waits for it.
        if (!isOver) break;
      }
    }
  }

  count(): void {
    const { database, history } = this.#world;
    for (const message of [...this.#sent.values()].flat(2)) {
      const pk = pkAt(message);
      const counter = database.item(effectsTable, pk, 'counter')?.times as { N?: string } | undefined;
      history.counters.set(pk, Number(counter?.N ?? 0));
    }
  }

  /** Of each sender's last epoch, what was sent. The numbers behind one that was skipped wait for it for ever. */
  #newest(): Numbered[][][] {
    const newest = new Map<string, Numbered[][]>();
    for (const sent of this.#sent.values()) {
      const { producer, epoch } = sent.flat()[0]!;
      const known = newest.get(producer);
      if (known === undefined || known.flat()[0]!.epoch < epoch) newest.set(producer, sent);
    }
    return [...newest.values()].map((sent) => {
      const gap = Array.from(sent).indexOf(undefined as never);
      return gap < 0 ? sent : sent.slice(0, gap);
    });
  }

  async #handle(message: Numbered, context: Context): Promise<unknown> {
    const world = this.#world;
    const op = operation(context);
    const job = {
      tenant,
      key: `${message.producer} ${message.epoch}.${message.number}`,
      payload: message.payload,
    };
    const execution = world.begin(op, job.key, pkAt(message));
    try {
      const plan = { ...this.#plan, door: { name: 'wrapper' } };
      const answer = await this.#level.handle({ world, execution, op, job, plan });
      world.returned(execution, answer);
      return answer;
    } catch (error) {
      world.threw(execution);
      throw error;
    }
  }
}

/** Sends messages in one epoch, until it is through, has no patience any more, or is fenced. */
class Sender {
  readonly #world: World;
  readonly #run: Run;
  readonly #producer: string;
  readonly #epoch: number;
  readonly #messages: readonly string[];
  #number = 0;
  #tries = 0;
  #sendings = 0;
  #isOver = false;

  constructor(world: World, run: Run, producer: string, epoch: number, messages: readonly string[]) {
    this.#world = world;
    this.#run = run;
    this.#producer = producer;
    this.#epoch = epoch;
    this.#messages = messages;
  }

  next(): void {
    const payload = this.#messages[this.#number];
    if (this.#isOver || payload === undefined || this.#sendings++ === mostSendings) return;
    const { time, chance } = this.#world;
    const number = this.#number;
    const place = `${this.#producer} ${this.#epoch}.${number} try ${++this.#tries}`;
    let isHeard = false;
    const hear = (outcome: CallOutcome | undefined) => {
      if (isHeard) return;
      isHeard = true;
      stopWaiting();
      time.after(chance.between(place, 1, 2_000), () => this.#go(number, outcome, place));
    };
    const stopWaiting = time.after(20_000, () => hear(undefined));
    const message = this.#message(number, payload);
    this.#run.send(
      this.#world.fault(place, 'other payload') ? this.#message(number, 'sold other things') : message,
      (outcome) => {
        if (!this.#world.fault(`${place} back`, 'answer not delivered')) hear(outcome);
      },
    );
    if (this.#world.fault(`${place} again`, 'called twice')) {
      const laterMs = chance.pick(`${place} twice`, [0, 5, 200, 3_000, 90_000]);
      time.after(laterMs, () => this.#run.send(message, () => {}));
    }
    if (this.#world.fault(`${place} behind`, 'sent ahead') && this.#messages[number + 1] !== undefined) {
      // It does not wait for the answer, as Kafka's producer does not: the server tells the gap.
      time.after(chance.between(place, 0, 100), () =>
        this.#run.send(this.#message(number + 1, this.#messages[number + 1] ?? ''), () => {}),
      );
    }
    if (this.#world.fault(`${place} on`, 'count is lost')) this.#loseCount(place);
  }

  #message(number: number, payload: string): Numbered {
    return { tenant, producer: this.#producer, epoch: this.#epoch, number, payload };
  }

  #go(number: number, outcome: CallOutcome | undefined, place: string): void {
    if (number !== this.#number) return;
    const error = outcome?.kind === 'failed' ? outcome.error : undefined;
    if (IdempotencyError.is(error, 'FENCED')) {
      this.#isOver = true;
      this.#world.history.reach('a sender is fenced');
      return;
    }
    if (IdempotencyError.is(error, 'SEQUENCE_GAP')) {
      this.#world.history.reach('a sender goes back to the expected number');
      this.#number = error.expectedNumber ?? 0;
      this.next();
      return;
    }
    if (isDone(outcome) || this.#world.fault(`${place} at once`, 'goes on unanswered')) {
      this.#number++;
      this.#tries = 0;
      this.next();
      return;
    }
    if (this.#tries < mostTries) this.next();
  }

  /** A new epoch begins with what was not acknowledged. The old one may not know, and go on. */
  #loseCount(place: string): void {
    if (this.#epoch === 3) return;
    const { history, chance, time } = this.#world;
    history.reach('a sender loses its count');
    if (chance.isTrue(`${place} double`, 0.5)) history.reach('the double of a sender goes on');
    else this.#isOver = true;
    const after = new Sender(
      this.#world,
      this.#run,
      this.#producer,
      this.#epoch + 1,
      this.#messages.slice(this.#number),
    );
    time.after(chance.pick(`${place} restart`, [1, 300, 5_000]), () => after.next());
  }
}

const isDone = (outcome: CallOutcome | undefined): boolean =>
  outcome?.kind === 'answered' ||
  IdempotencyError.is(outcome?.error, 'RESULT_UNAVAILABLE') ||
  isMismatch(outcome);

/** Its number is done, whatever the caller is told of its answer. */
const isEnded = (outcome: CallOutcome): boolean =>
  outcome.kind === 'answered' ||
  (IdempotencyError.is(outcome.error, 'RESULT_UNAVAILABLE') && outcome.error.effect === 'none');

const isMismatch = (outcome: CallOutcome | undefined): boolean =>
  outcome?.kind === 'failed' && IdempotencyError.is(outcome.error, 'PAYLOAD_MISMATCH');

/** When the last lease is over on every clock. */
const lastLease = ({ history }: World): number =>
  Math.max(0, ...history.transitions.map(({ after }) => after?.leaseUntilMs ?? 0));
