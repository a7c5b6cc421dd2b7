import type { Context } from 'aws-lambda';
import type { Auditor } from '../auditors/index.ts';
import type { Sandbox } from '../simulation/sandbox.ts';
import type { About, World } from '../simulation/world.ts';

/** A call of a guarded handler. */
export type Guarded = (context: Context | undefined) => Promise<unknown>;

/** A moment up to which time can pass while requests are on their way. */
export interface Moment {
  readonly label: string;
  readonly atMs: number;
}

/** Where a small world is played. */
export interface Stage {
  readonly world: World;
  /** Plans a call in a process of its own. Names of those that ask at the end begin with `probe`. */
  call(name: string, about: About, guardIn: (sandbox: Sandbox) => Guarded): void;
  /** A handler's next line: it comes to it at once, or after time has passed. */
  gate(label: string): Promise<void>;
}

/** A few calls that meet. Every order of what they send, with few faults, is played. */
export interface SmallWorld {
  readonly name: string;
  /** All that it promises. @default what operations with keys promise */
  readonly auditors?: readonly Auditor[];
  begin(stage: Stage): void;
  /** Asks once more, when every lease is over and no fault strikes. */
  probe(stage: Stage): void;
  /** Ends of leases and windows that are ahead. */
  moments(stage: Stage): readonly Moment[];
  /** Writes down what auditors need at the end. */
  end?(stage: Stage): void;
}
