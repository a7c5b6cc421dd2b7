/** One schedule of a small world: processes that call, their requests, and whatever else is to be decided. */
import { type Applied, sdkError } from '../dynamodb-model/index.ts';
import type { Sender } from '../simulation/database.ts';
import type { Call } from '../simulation/history.ts';
import { onTheWire, resultOf, summary, type Wire } from '../simulation/network.ts';
import { invocation, type Sandbox } from '../simulation/sandbox.ts';
import { type About, World } from '../simulation/world.ts';
import type { Budget } from './budget.ts';
import type { Choices } from './choices.ts';
import type { Guarded, Moment, SmallWorld, Stage } from './small-world.ts';

/** A process that makes one call. */
export interface Process {
  readonly sandbox: Sandbox;
  call: Call | undefined;
  /** Requests, gates and a start that it waits for. Where it waits for none, a timer of its own brings it on. */
  waitsFor: number;
}

interface Request {
  readonly place: string;
  readonly process: Process;
  readonly input: object;
  readonly commandName: string;
  readonly sending: number;
  readonly resolve: (output: object) => void;
  readonly reject: (error: Error) => void;
}

/** A request on its way. */
interface Sent {
  readonly request: Request;
  readonly sender: Sender;
  readonly label: string;
  /** Whether its sender still waits for the answer. */
  isAwaited: boolean;
}

/** Something that brings a process on: an answer, an error, a handler's next line, its start. */
interface Wake {
  readonly label: string;
  readonly process: Process;
  /** Whether the process stands still until then. */
  readonly isFrozen: boolean;
  readonly happen: () => void;
  /** How much had happened when it was held back. */
  heldAt: number;
}

interface Option {
  readonly label: string;
  readonly take: () => unknown;
}

const mostSteps = 500;
const mostSendings = 2;
const seed = 1;

export interface SceneOptions {
  readonly budget: Budget;
  /** Is told of the world when something is to be decided that no schedule before has come to. */
  readonly atChoice?: (scene: Scene) => void;
}

export class Scene implements Stage {
  readonly world: World;
  readonly #small: SmallWorld;
  readonly #choices: Choices;
  readonly #options: SceneOptions;
  #faultsLeft: number;
  #passesLeft: number;
  #holdsLeft: number;
  /** Arrivals, passings of time, and what brought processes on. */
  #events = 0;
  #isPassing = false;
  #isOver = false;
  readonly #processes: Process[] = [];
  /** Requests of which nothing is decided yet. */
  readonly #fresh: Sent[] = [];
  readonly #underway: Sent[] = [];
  readonly #wakes: Wake[] = [];
  readonly #held: Wake[] = [];

  constructor(small: SmallWorld, choices: Choices, options: SceneOptions) {
    this.#small = small;
    this.#choices = choices;
    this.#options = options;
    this.#faultsLeft = options.budget.faults;
    this.#passesLeft = options.budget.passes;
    this.#holdsLeft = options.budget.holds;
    this.world = new World(seed, {}, undefined, () => this.#wire());
  }

  /** Plays it to its end, and then asks once more, without faults. */
  async play(): Promise<void> {
    this.#small.begin(this);
    await this.#untilOver();
    this.#isOver = true;
    const { time, history } = this.world;
    const leases = history.transitions.map(({ after }) => after?.leaseUntilMs ?? 0);
    await time.until(Math.max(time.nowMs, ...leases) + 61_000);
    this.world.log('', '--- every lease is over, no fault strikes any more');
    this.#small.probe(this);
    await this.#untilOver();
    this.#small.end?.(this);
  }

  /** Plans a call in a process of its own. */
  call(name: string, about: About, guardIn: (sandbox: Sandbox) => Guarded): void {
    const sandbox = this.world.sandbox(name);
    const process: Process = { sandbox, call: undefined, waitsFor: 0 };
    const guarded = guardIn(sandbox);
    // Not by the order in which they begin, so that the same end is the same text.
    const id = `call ${this.#processes.push(process)}`;
    this.#wake(process, `${sandbox.name} begins`, false, () => {
      process.call = this.world.invoke(sandbox, { ...about, id }, guarded, undefined, () => {});
    });
  }

  /** A handler's next line: it comes to it at once, or after time has passed. */
  gate(label: string): Promise<void> {
    const { sandbox } = invocation.getStore()!;
    const process = this.#processes.find((one) => one.sandbox === sandbox)!;
    return new Promise((resolve) => this.#wake(process, `${sandbox.name} ${label}`, false, resolve));
  }

  /** What is still to come, and what may still go wrong. */
  get state(): readonly unknown[] {
    return [
      ...[this.#faultsLeft, this.#passesLeft, this.#holdsLeft, this.#isOver],
      this.#fresh.map(({ label }) => label),
      this.#underway.map(({ label, isAwaited }) => `${label} ${isAwaited}`).sort(),
      this.#wakes.map(({ label }) => label).sort(),
      this.#held.map(({ label, heldAt }) => `${label} ${heldAt < this.#events}`).sort(),
      this.outcomes,
    ];
  }

  /** What the callers were answered. */
  get outcomes(): readonly unknown[] {
    return this.#processes.map(({ sandbox, call }) => [sandbox.isDead, call && outcomeOf(call)]);
  }

  async #untilOver(): Promise<void> {
    for (let step = 0; ; step++) {
      if (step === mostSteps) throw new Error(`More than ${mostSteps} steps: it does not end.`);
      await this.#settle();
      const options = this.#next();
      if (options.length === 0) return;
      if (options.length > 1 && this.#choices.areNew) this.#options.atChoice?.(this);
      const { label, take } = this.#choices.pick(options);
      if (options.length > 1) this.world.log('choice', `${this.#choices.made.length}: ${label}`);
      await take();
    }
  }

  /** A millisecond passes, and then as many as it takes until every process waits for something that is to be decided. */
  async #settle(): Promise<void> {
    const { time } = this.world;
    await time.until(time.nowMs + 1);
    while (this.#processes.some(isAsleep)) {
      const { nextAtMs } = time;
      if (nextAtMs === undefined) return;
      await time.until(nextAtMs);
    }
  }

  #next(): readonly Option[] {
    const [fresh] = this.#fresh;
    if (fresh) return this.#fates(fresh);
    const [wake] = this.#wakes;
    if (wake) return this.#comings(wake);
    const others = this.#others();
    // Held back for something else, and there is nothing else.
    return others.length > 0 ? others : this.#held.map((one) => this.#coming(one));
  }

  /** What can happen apart from processes' next steps that have just come up. */
  #others(): readonly Option[] {
    const { length } = [...this.#underway, ...this.#held];
    const mayPass = length > 0 && this.#passesLeft > 0 && !this.#isOver;
    return [
      ...this.#underway.map((sent) => ({
        label: `${sent.label} arrives`,
        take: () => this.#arrive(sent),
      })),
      ...this.#held.filter(({ heldAt }) => heldAt < this.#events).map((one) => this.#coming(one)),
      ...(mayPass ? this.#small.moments(this) : []).map((moment) => ({
        label: moment.label,
        take: () => this.#pass(moment),
      })),
    ];
  }

  /** What becomes of a request that was just sent. */
  #fates(sent: Sent): readonly Option[] {
    const goes = { label: `${sent.label} goes out`, take: () => this.#underway.push(this.#decided(sent)) };
    const isDead = sent.request.process.sandbox.isDead;
    if (this.#faultsLeft === 0 || this.#isOver || isDead) return [goes];
    const isRead = sent.sender.commandName === 'GetItem' || sent.sender.commandName === 'Query';
    const isRepeatable = sent.request.sending < mostSendings;
    return [
      goes,
      ...(isRead ? ['lost'] : ['lost', 'late']).flatMap((kind) => [
        this.#fault(sent, kind, 'its sender is told', () => this.#tell(sent)),
        ...(isRepeatable ? [this.#fault(sent, kind, 'is sent again', () => this.#sendAgain(sent))] : []),
        this.#fault(sent, kind, 'its sender crashes', () => this.#crash(sent)),
      ]),
    ];
  }

  #fault(sent: Sent, kind: string, then: string, take: () => void): Option {
    return {
      label: `${sent.label} is ${kind}, ${then}`,
      take: () => {
        this.#faultsLeft--;
        this.#decided(sent);
        sent.isAwaited = false;
        if (kind === 'late') this.#underway.push(sent);
        take();
      },
    };
  }

  #decided(sent: Sent): Sent {
    this.#fresh.splice(this.#fresh.indexOf(sent), 1);
    return sent;
  }

  #tell({ request, label }: Sent): void {
    this.#wake(request.process, `${label}: its sender is told`, true, () =>
      request.reject(noAnswer(request.sending)),
    );
    request.process.waitsFor--;
  }

  #sendAgain({ request }: Sent): void {
    this.#send({ ...request, sending: request.sending + 1 });
    request.process.waitsFor--;
  }

  #crash({ request: { process } }: Sent): void {
    process.sandbox.isDead = true;
    this.world.log(process.sandbox.name, 'crashes');
    for (const list of [this.#wakes, this.#held]) {
      list.splice(0, list.length, ...list.filter((wake) => wake.process !== process));
    }
    for (const sent of [...this.#fresh, ...this.#underway]) {
      if (sent.request.process === process) sent.isAwaited = false;
    }
  }

  #arrive(sent: Sent): void {
    const { request, sender, label, isAwaited } = sent;
    this.#underway.splice(this.#underway.indexOf(sent), 1);
    this.#events++;
    const applied = this.world.database.apply(request.input, sender);
    this.world.log('db', `${label}: ${resultOf(applied)}`);
    if (!isAwaited) return;
    this.#wake(request.process, `${label} is answered`, true, () => answer(request, applied));
    request.process.waitsFor--;
  }

  async #pass({ label, atMs }: Moment): Promise<void> {
    this.#passesLeft--;
    this.#events++;
    this.world.log('time', label);
    this.#isPassing = true;
    await this.world.time.until(atMs + 1);
    this.#isPassing = false;
  }

  /** A process comes on at once, or after something else has happened. */
  #comings(wake: Wake): readonly Option[] {
    const now = this.#coming(wake);
    if (this.#isOver || this.#holdsLeft === 0) return [now];
    const later = () => {
      this.#holdsLeft--;
      this.#wakes.splice(this.#wakes.indexOf(wake), 1);
      this.#held.push(wake);
      wake.heldAt = this.#events;
      if (wake.isFrozen) wake.process.sandbox.hold();
    };
    return [now, { label: `held back: ${wake.label}`, take: later }];
  }

  #coming(wake: Wake): Option {
    return { label: wake.label, take: () => this.#comes(wake) };
  }

  #comes(wake: Wake): void {
    this.#events++;
    for (const list of [this.#wakes, this.#held]) {
      const at = list.indexOf(wake);
      if (at >= 0) list.splice(at, 1);
    }
    wake.process.waitsFor--;
    wake.happen();
    if (wake.isFrozen) wake.process.sandbox.letGo();
  }

  #wake(process: Process, label: string, isFrozen: boolean, happen: () => void): void {
    process.waitsFor++;
    this.#wakes.push({ label, process, isFrozen, happen, heldAt: 0 });
  }

  #wire(): Wire {
    return {
      client: (sandbox, tableName) => ({
        send: (command: { readonly constructor: { readonly name: string }; readonly input: object }) =>
          new Promise((resolve, reject) => {
            const process = this.#processes.find((one) => one.sandbox === sandbox)!;
            const call = invocation.getStore()?.call;
            if (sandbox.isDead || !call) return;
            this.#send({
              place: `${call.id} request ${++call.requests}`,
              commandName: command.constructor.name.replace(/Command$/, ''),
              input: onTheWire(command.input, tableName),
              ...{ process, resolve, reject, sending: 1 },
            });
          }),
      }),
    };
  }

  #send(request: Request): void {
    const { process, commandName, place, sending } = request;
    const { sandbox, call } = process;
    const again = sending > 1 ? ' again' : '';
    const label = `${place}${again} (${summary(request)})`;
    const sender: Sender = { call, sentAtClockMs: sandbox.clock.now(), commandName };
    process.waitsFor++;
    // What is sent while nothing arrives is late in any case.
    const list = this.#isPassing ? this.#underway : this.#fresh;
    list.push({ request, sender, label, isAwaited: true });
    this.world.log(sandbox.name, label);
  }
}

/** Whether a process is at work and waits for nothing that is to be decided: it sleeps, or has just begun. */
const isAsleep = ({ sandbox, call, waitsFor }: Process): boolean =>
  call !== undefined && call.outcome === undefined && !sandbox.isDead && waitsFor === 0;

function answer({ resolve, reject, sending }: Request, { ok, error }: Applied): void {
  if (error) reject(sdkError(error, sending));
  else resolve({ ...ok, $metadata: { attempts: sending } });
}

const noAnswer = (attempts: number): Error =>
  Object.assign(new Error('No answer in time (simulated)'), {
    name: 'TimeoutError',
    $metadata: { attempts },
  });

function outcomeOf({ outcome }: Call): string {
  if (outcome === undefined) return '';
  if (outcome.kind === 'answered') return JSON.stringify(outcome.value);
  const { code, effect, message } = outcome.error as { code?: string; effect?: string; message?: string };
  return `${code ?? message} ${effect}`;
}
