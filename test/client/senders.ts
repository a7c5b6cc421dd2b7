import {
  type Delivery,
  IdempotencyError,
  type NumberedMessage,
  type NumberedSender,
  type NumberedSenderOptions,
  numberedSender,
  type SenderEvent,
  type SenderStorage,
} from '../../lib/client.ts';
import { type ManualTimers, manualTimers } from './manual-timers.ts';
import { type SequenceServer, sequenceServer } from './sequence-server.ts';

/** What becomes of one attempt: it arrives, its answer is lost, it never arrives, or the server says this. */
export type Step = 'work' | 'lose-answer' | 'drop' | 'hang' | Delivery<string>;

export type Message = NumberedMessage<unknown>;

export interface SenderBench {
  readonly server: SequenceServer;
  readonly timers: ManualTimers;
  /** Every attempt, as `epoch:number payload`, epochs as how many milliseconds after the start of time they began. */
  readonly attempts: readonly string[];
  readonly events: readonly SenderEvent<unknown, string>[];
  readonly storage: SenderStorage & { text: string | undefined };
  /** What becomes of the next attempts; after these the network works. */
  script(...steps: Step[]): void;
  /** A new life of the sender, on the storage of the one before. */
  sender(options?: Partial<NumberedSenderOptions<unknown, string>>): NumberedSender<unknown, string>;
}

export const startMs = Date.UTC(2026, 0, 1);

/** A sender, its network and its server. Waits between attempts pass by themselves. */
export function senderBench(): SenderBench {
  const server = sequenceServer();
  const timers = manualTimers(startMs);
  const attempts: string[] = [];
  const events: SenderEvent<unknown, string>[] = [];
  const steps: Step[] = [];
  const storage = {
    text: undefined as string | undefined,
    load: () => storage.text,
    save: (text: string) => {
      storage.text = text;
    },
  };

  async function send(message: Message): Promise<Delivery<string>> {
    const { producer, epoch, number, payload } = message;
    attempts.push(`${epoch - startMs}:${number} ${JSON.stringify(payload)}`);
    const step = steps.shift() ?? 'work';
    if (typeof step === 'object') return step;
    if (step === 'hang') return new Promise(() => {});
    if (step !== 'drop') {
      const delivery = server.handle({ producer, epoch, number }, payload);
      if (step === 'work') return delivery;
    }
    throw new TypeError('network');
  }

  return {
    server,
    timers,
    attempts,
    events,
    storage,
    script: (...more) => {
      steps.push(...more);
    },
    sender: (options = {}) =>
      numberedSender<unknown, string>({
        producer: 'till-7',
        storage,
        send,
        clock: timers,
        random: () => 0.5,
        ...options,
        observe: (event) => {
          events.push(event);
          options.observe?.(event);
          if (event.type === 'retry') setImmediate(() => timers.advance(event.delayMs));
        },
      }),
  };
}

/** The code that a call fails with. */
export const codeOf = (promise: Promise<unknown>): Promise<unknown> =>
  promise.then(
    () => 'nothing thrown',
    (error: unknown) => (IdempotencyError.is(error) ? error.code : error),
  );
