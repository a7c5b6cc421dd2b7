import { createHash } from 'node:crypto';
import type { Fault, ProxiedRequest } from './fault-proxy.ts';

export interface DisturbanceOptions {
  /** The same seed draws the same fault for the how many-th request of the same caller. */
  readonly seed: number;
  /** How many of a hundred requests are disturbed. @default 15 */
  readonly percent?: number;
}

/** What was done so far. */
export interface DisturbanceCounts {
  /** Requests and answers that came late, up to six seconds. */
  delayed: number;
  /** Requests that reached the service twice. */
  repeated: number;
  /** Connections that broke: before the request took effect, after it, or in the middle of the answer. */
  cut: number;
}

export interface Disturbance {
  /** Live. */
  readonly counts: Readonly<DisturbanceCounts>;
  /** Resolves once the faults that were drawn have taken their course: nothing is late any more. */
  stop(): Promise<void>;
}

/** What a proxy asks about every request, and what has come of it. */
export interface DrawnFaults {
  readonly counts: Readonly<DisturbanceCounts>;
  readonly faultFor: (request: ProxiedRequest) => Fault | undefined;
}

/** If its answer is lost, the queue hides messages until their visibility timeout. That tests the queue, not the code. */
const undisturbed: readonly string[] = ['ReceiveMessage'];

/** Draws delays, repeats and broken connections from a seed. */
export function drawFaults({ seed, percent = 15 }: DisturbanceOptions): DrawnFaults {
  const counts: DisturbanceCounts = { delayed: 0, repeated: 0, cut: 0 };
  const asked = new Map<string, number>();
  return {
    counts,
    faultFor({ caller = '', operation }) {
      const count = (asked.get(caller) ?? 0) + 1;
      asked.set(caller, count);
      if (undisturbed.includes(operation)) return undefined;
      const drawn = createHash('sha256').update(`${seed} ${caller} ${count}`).digest();
      const at = (index: number): number => drawn.readUInt32BE(index * 4) / 2 ** 32;
      if (at(0) * 100 >= percent) return undefined;
      const [kind, fault] = faultAt(at(1), at(2));
      counts[kind]++;
      return fault;
    },
  };
}

/** Two numbers from 0 to 1: which fault it is, and how long it takes. */
function faultAt(which: number, size: number): readonly [keyof DisturbanceCounts, Fault] {
  if (which < 0.3) return ['delayed', { delayMs: 20 + size * 400 }];
  if (which < 0.45) return ['delayed', { delayAfterMs: 20 + size * 400 }];
  // After whoever sent it has given up or was killed, and its successor has begun.
  if (which < 0.5) return ['delayed', { delayMs: 3_000 + size * 3_000 }];
  if (which < 0.7) return ['repeated', { repeatAfterMs: size * 4_000 }];
  if (which < 0.8) return ['cut', 'drop-before'];
  if (which < 0.9) return ['cut', 'drop-after'];
  return ['cut', 'cut'];
}
