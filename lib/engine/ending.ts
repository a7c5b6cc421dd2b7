/** An execution as it ends: what its own code has in common with the part that `operation` brings. */
import { withoutMessage } from '../errors.ts';
import type { ClaimRecord } from '../store/index.ts';
import type { Encoded } from './codec.ts';
import type { Settlement } from './occurrence.ts';
import type { Progress } from './progress.ts';
import type { Settled } from './protocol.ts';
import type { Ended, Reply } from './reply.ts';
import type { Settings } from './settings.ts';

/** The handler's operation, once the handler has asked for it. */
export interface Companion {
  /** Refuses whatever is begun from now on, and waits for what is running. Resolves to whether all of it ended in time. */
  close(): Promise<boolean>;
  /** Whether `error` is the operation's own. A front door may answer for it. */
  hasRaised(error: unknown): boolean;
  /** The handler is over, so nothing is left to abort. */
  end(): void;
  /** Another attempt has the claim. */
  abort(): void;
}

export interface Ending {
  readonly call: { readonly settings: Settings; readonly reply: Reply };
  readonly progress: Progress;
  readonly companion: Companion | undefined;
  tell(settled: Settled, settlingAtMs: number, whenDone: Settlement): void;
  replay(record: ClaimRecord): Promise<unknown>;
}

/** How attempts end that have committed, or were to. */
export interface Commits {
  /** The handler returned from an attempt that has no claim: its commit has ended it, or was to claim. */
  settle(ending: Ending, value: unknown, isRecord: boolean): Promise<Settled | undefined>;
  /**
   * What the caller gets for an error of the operation itself. Never rejects.
   *
   * @param left the error as it may leave the attempt
   */
  raised(ending: Ending, error: unknown, left: unknown, settled: Settled | undefined): Promise<Ended>;
}

/** If `remember` throws, the caller still gets its answer. It is remembered, so that nothing runs twice. */
export function isToBeRemembered({ settings, reply }: Ending['call'], value: unknown): boolean {
  try {
    return settings.remember({ value, statusCode: reply.statusOf(value) });
  } catch (error) {
    console.warn(
      `[idemkit] Option \`remember\` threw, so the answer was remembered: ${withoutMessage(error)}`,
    );
    return true;
  }
}

export const completeEvent = (encoded: Encoded): Settlement =>
  encoded.kind === 'bytes'
    ? { type: 'complete', answerBytes: encoded.bytes.length }
    : {
        type: 'complete',
        answerBytes: 0,
        unavailable: encoded.reason,
        ...(encoded.cause !== undefined && { cause: encoded.cause }),
      };
