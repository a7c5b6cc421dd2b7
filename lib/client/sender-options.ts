/** The options of `numberedSender`, and what its parts tell each other. */
import type { IdempotencyError } from '../errors.ts';
import { check, checkKnown, isFunction, isOneOf } from '../validate.ts';
import { checkDelays, checkTiming, defaultTiming, type RetryClock, type Timing } from './options.ts';
import type { SenderStorage } from './sender-storage.ts';
import { checkProducer, type SequenceNumber } from './sequence-header.ts';

/** What a `send` is given. All attempts of a message have the same producer, epoch, number and payload. */
export interface NumberedMessage<Payload> extends SequenceNumber {
  readonly payload: Payload;
  /** From 1, counted anew after each pause. */
  readonly attempt: number;
  /** Aborts when the attempt's time is over, and when the sender is paused. */
  readonly signal: AbortSignal;
}

/** What a `send` says of one attempt. If it throws, that means `unanswered`. */
export type Delivery<Answer> =
  /**
   * It was processed, now or before, and this is its answer. `isRefusal`: the application refused it, so that it is not sent again
   * after a gap.
   */
  | { readonly outcome: 'answered'; readonly answer: Answer; readonly isRefusal?: boolean }
  /** It was processed before, and its answer is no longer kept. */
  | { readonly outcome: 'done' }
  /** It may have been processed, or will be: the same attempt again finds out. */
  | { readonly outcome: 'unanswered'; readonly cause?: unknown; readonly retryAfterMs?: number | undefined }
  /** It was certainly not processed, and a repeat would end alike until somebody acts. The sender pauses; the message stays queued. */
  | { readonly outcome: 'not-accepted'; readonly cause?: unknown }
  /** The server expects another number: `SEQUENCE_GAP`. */
  | { readonly outcome: 'gap'; readonly expectedNumber: number; readonly retryAfterMs?: number | undefined }
  /** The number was used for another payload: `PAYLOAD_MISMATCH`. */
  | { readonly outcome: 'mismatch' }
  /** A newer epoch of this producer is at work: `FENCED`. */
  | { readonly outcome: 'fenced' };

/** How a message is sent once. {@link overHttp} makes one for HTTP. */
export type SendOnce<Payload, Answer> = (
  message: NumberedMessage<Payload>,
) => Promise<Delivery<Answer>> | Delivery<Answer>;

/** What became of a message. */
export type Sent<Answer> =
  /** It was processed, once. */
  | (Place & { readonly outcome: 'answered'; readonly answer: Answer })
  /** It was processed, once, and its answer is no longer kept. */
  | (Place & { readonly outcome: 'done' })
  /** It is saved and will be sent, with what follows: do not send it again. `cause` is what stopped the sender. */
  | { readonly outcome: 'queued'; readonly cause: unknown };

interface Place {
  readonly epoch: number;
  readonly number: number;
}

/** What `observe` is told. */
export type SenderEvent<Payload, Answer> =
  /**
   * A new epoch begins. `start`: the sender's state was there; `no-state`: there was none; `bad-state`: it was unreadable, so messages
   * may be lost; `gap`: the server does not know the earlier numbers; `mismatch`: somebody else uses them.
   */
  | {
      readonly type: 'epoch';
      readonly epoch: number;
      readonly reason: 'start' | 'no-state' | 'bad-state' | 'gap' | 'mismatch';
    }
  /** A message will be sent again. */
  | (Place & {
      readonly type: 'retry';
      readonly attempt: number;
      readonly delayMs: number;
      readonly cause: unknown;
    })
  /** The server lacks what it had acknowledged: it is sent again, from this number on. */
  | (Place & { readonly type: 'resend' })
  /** A message has left the queue, one of an earlier life too. */
  | (Place & {
      readonly type: 'settled';
      readonly payload: Payload;
      readonly sent:
        | Exclude<Sent<Answer>, { outcome: 'queued' }>
        | { readonly outcome: 'failed'; readonly error: IdempotencyError };
    })
  /** The sender does nothing until the next `send`, `enqueue` or `resume`. */
  | { readonly type: 'paused'; readonly cause: unknown }
  /** The sender is stopped for ever. */
  | { readonly type: 'fenced' };

/** Options of {@link numberedSender}. The first three are required. */
export interface NumberedSenderOptions<Payload, Answer> {
  /**
   * Who numbers, the same in every life: 1 to 255 printable ASCII characters. Two devices are two producers. It reaches the server with
   * each message.
   */
  readonly producer: string;
  /** Where the state is kept. */
  readonly storage: SenderStorage;
  /** Sends a message once. */
  readonly send: SendOnce<Payload, Answer>;
  /**
   * How many messages are held at most: 1 to 100,000. One more is refused with `QUEUE_FULL`.
   *
   * @default 1000
   */
  readonly maxQueued?: number;
  /**
   * How many acknowledged messages are kept, to be sent again where the server has lost them: 0 to 1000. Only for a server whose records
   * and effects are lost together, e.g. restored from one backup.
   *
   * @default 0
   */
  readonly keepAcknowledged?: number;
  /**
   * What to do with a message that may have been processed, where the server no longer knows the sender. `stop`: pause, and keep it
   * queued. `resend`: send it in a new epoch; it may be processed twice. `drop`: fail it with `OUTCOME_UNKNOWN`; it may never be processed.
   *
   * @default 'stop'
   */
  readonly whenInDoubt?: 'stop' | 'resend' | 'drop';
  /**
   * Proposes an epoch. It must be above that of every earlier life whose state is lost; where the state is there, the sender makes sure
   * of that. Give it for a device without a clock, e.g. a counter of its starts.
   *
   * @default the clock's milliseconds since 1970
   */
  readonly epoch?: () => number;
  /** Is told what the sender does. What it throws is ignored. */
  readonly observe?: (event: SenderEvent<Payload, Answer>) => void;
  /**
   * How often a message is sent before the sender pauses: 1 to 100.
   *
   * @default 5
   */
  readonly maxAttempts?: number;
  /** As for `retryingFetch`. @default 250 */
  readonly baseDelayMs?: number;
  /** As for `retryingFetch`. @default 20_000 */
  readonly maxDelayMs?: number;
  /** How long one attempt may take, in milliseconds, or `Infinity`. @default 30_000 */
  readonly attemptTimeoutMs?: number;
  /** How long the attempts of one message and the waits between them may take before the sender pauses. @default 60_000 */
  readonly deadlineMs?: number;
  /** The clock; tests may give another. @default the platform's */
  readonly clock?: RetryClock;
  /** Returns random numbers from 0 to below 1; tests may give another. @default Math.random */
  readonly random?: () => number;
}

/** The options, with all defaults filled in. */
export type SenderSettings<Payload, Answer> = Required<
  Omit<NumberedSenderOptions<Payload, Answer>, 'observe' | 'epoch'>
> &
  Pick<NumberedSenderOptions<Payload, Answer>, 'observe' | 'epoch'> &
  Timing;

const defaults = {
  producer: undefined,
  storage: undefined,
  send: undefined,
  maxQueued: 1000,
  keepAcknowledged: 0,
  whenInDoubt: 'stop',
  epoch: undefined,
  observe: undefined,
  ...defaultTiming,
} as const satisfies { [Name in keyof Required<NumberedSenderOptions<unknown, unknown>>]: unknown };

/** @throws `BAD_OPTION`, and `BAD_KEY` for the producer */
export function resolveSenderOptions<Payload, Answer>(
  options: NumberedSenderOptions<Payload, Answer>,
): SenderSettings<Payload, Answer> {
  checkKnown('', options ?? null, Object.keys(defaults));
  checkProducer(options.producer);
  check('storage', options.storage ?? null, 'an object with the methods `load` and `save`', (value) => {
    const { load, save } = (value ?? {}) as Partial<SenderStorage>;
    return isFunction(load) && isFunction(save);
  });
  check('send', options.send ?? null, 'a function', isFunction);
  check('maxQueued', options.maxQueued, 'an integer from 1 to 100000', isWhole(1, 100_000));
  check('keepAcknowledged', options.keepAcknowledged, 'an integer from 0 to 1000', isWhole(0, 1000));
  const ways = "'stop', 'resend' or 'drop'";
  check('whenInDoubt', options.whenInDoubt, ways, isOneOf('stop', 'resend', 'drop'));
  check('epoch', options.epoch, 'a function', isFunction);
  check('observe', options.observe, 'a function', isFunction);
  checkTiming(options);
  const given = Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined));
  const settings = { ...defaults, ...given } as unknown as SenderSettings<Payload, Answer>;
  checkDelays(settings);
  return settings;
}

const isWhole = (least: number, most: number) => (value: unknown) =>
  Number.isInteger(value) && (value as number) >= least && (value as number) <= most;
