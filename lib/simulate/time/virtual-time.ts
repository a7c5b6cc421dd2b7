/** Time that passes only from one event to the next; what happens at one moment happens in the order in which it was planned. */

interface Planned {
  readonly atMs: number;
  readonly order: number;
  happen: (() => void) | undefined;
}

export type Cancel = () => void;

// The system's, taken before anything replaces it.
const nextTurn = setImmediate;

/** So many cancelled events are left where they are. */
const fewCancelled = 1_000;

/** How many events share one turn of the system's loop. */
const eventsPerTurn = 64;

export class VirtualTime {
  nowMs: number;
  /** How many events have happened. */
  events = 0;
  #heap: Planned[] = [];
  #order = 0;
  #cancelled = 0;

  constructor(startMs: number) {
    this.nowMs = startMs;
  }

  /** Plans something. What is cancelled before it happens takes no time. */
  after(delayMs: number, happen: () => void): Cancel {
    const atMs = this.nowMs + Math.max(0, Math.ceil(delayMs));
    const planned: Planned = { atMs, order: this.#order++, happen };
    this.#push(planned);
    return () => {
      if (planned.happen === undefined) return;
      planned.happen = undefined;
      this.#cancelled++;
      if (this.#cancelled > fewCancelled && this.#cancelled > this.#heap.length / 2) this.#dropCancelled();
    };
  }

  /** Lets everything happen that is planned, until nothing is. */
  async untilQuiet(mostEvents = Number.POSITIVE_INFINITY, signal?: AbortSignal): Promise<void> {
    await this.#happen(Number.POSITIVE_INFINITY, mostEvents, signal);
  }

  /** Lets everything happen that is planned until a moment, which it is then. What is planned for later stays planned. */
  async until(atMs: number, mostEvents = Number.POSITIVE_INFINITY): Promise<void> {
    await this.#happen(atMs, mostEvents);
    this.nowMs = Math.max(this.nowMs, atMs);
  }

  /** When something happens next; `undefined` where nothing is planned. */
  get nextAtMs(): number | undefined {
    while (this.#heap[0] && !this.#heap[0].happen) {
      this.#pop();
      this.#cancelled--;
    }
    return this.#heap[0]?.atMs;
  }

  /**
   * Between two events every promise settles that can settle without another one: Node runs all of them between two
   * callbacks of `setImmediate`, also between two of the same turn.
   */
  #happen(untilMs: number, mostEvents: number, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      let isOver = false;
      const end = (then: () => void) => {
        isOver = true;
        then();
      };
      const turn = () => {
        if (isOver) return;
        if (signal?.aborted) {
          end(() => reject(signal.reason));
          return;
        }
        for (let count = 0; count < eventsPerTurn; count++) nextTurn(one);
        nextTurn(turn);
      };
      const one = () => {
        if (isOver) return;
        const next = this.#next(untilMs);
        if (next === undefined) return end(resolve);
        try {
          if (++this.events > mostEvents) throw new Error(`More than ${mostEvents} events: it does not end.`);
          this.nowMs = Math.max(this.nowMs, next.atMs);
          const { happen } = next;
          // It cannot be cancelled any more.
          next.happen = undefined;
          happen?.();
        } catch (error) {
          end(() => reject(error));
        }
      };
      nextTurn(turn);
    });
  }

  #next(untilMs: number): Planned | undefined {
    for (;;) {
      const first = this.#heap[0];
      if (first === undefined || first.atMs > untilMs) return undefined;
      this.#pop();
      if (first.happen) return first;
      this.#cancelled--;
    }
  }

  /** Timers are cancelled far more often than they happen. */
  #dropCancelled(): void {
    // What is sorted is a heap.
    this.#heap = this.#heap.filter(({ happen }) => happen !== undefined).sort(inOrder);
    this.#cancelled = 0;
  }

  #push(planned: Planned): void {
    const heap = this.#heap;
    let at = heap.push(planned) - 1;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (!isBefore(planned, heap[parent]!)) break;
      heap[at] = heap[parent]!;
      at = parent;
    }
    heap[at] = planned;
  }

  #pop(): Planned | undefined {
    const heap = this.#heap;
    const first = heap[0];
    const last = heap.pop();
    if (first === undefined || last === undefined || heap.length === 0) return first;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && isBefore(heap[child + 1]!, heap[child]!)) child++;
      if (!isBefore(heap[child]!, last)) break;
      heap[at] = heap[child]!;
      at = child;
    }
    heap[at] = last;
    return first;
  }
}

const inOrder = (one: Planned, other: Planned): number => one.atMs - other.atMs || one.order - other.order;

const isBefore = (one: Planned, other: Planned): boolean =>
  one.atMs < other.atMs || (one.atMs === other.atMs && one.order < other.order);
