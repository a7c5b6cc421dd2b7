/** The state of a numbered sender: what it holds, how it changes, and the text that is saved. Nothing here waits or sends. */
import { IdempotencyError } from '../errors.ts';
import { isRecord, kindOf } from '../validate.ts';

/** A message in the sender's hands. */
export interface Entry {
  /** As JSON, so that every attempt sends the same. */
  readonly payload: string;
}

/** A message that has its number. It keeps it until it is done, or until the server has said that the number was not used. */
export interface Numbered<E extends Entry> {
  readonly epoch: number;
  readonly number: number;
  readonly entry: E;
}

/**
 * A message gets its number when it is about to be sent, and the state is saved before that. So only the first of `numbered` may have
 * been sent, and a new epoch renumbers nothing that may be under way.
 */
export interface SenderState<E extends Entry> {
  readonly epoch: number;
  /** The number of this epoch's next message. */
  readonly next: number;
  /** The message in flight, and after a gap those between the expected number and it. */
  readonly numbered: readonly Numbered<E>[];
  readonly queue: readonly E[];
  /** The latest ones that the server acknowledged. */
  readonly acknowledged: readonly Numbered<E>[];
}

// --- How it changes ---

/** Begins a higher epoch. Messages that have a number keep it. */
export function inNewEpoch<E extends Entry>(
  state: SenderState<E> | undefined,
  proposed: number,
): SenderState<E> {
  const epoch = Math.max(proposed, (state?.epoch ?? -1) + 1);
  return withNumber({
    epoch,
    next: 0,
    numbered: state?.numbered ?? [],
    queue: state?.queue ?? [],
    acknowledged: state?.acknowledged ?? [],
  });
}

/** Adds messages at the end of the queue. */
export const queued = <E extends Entry>(state: SenderState<E>, entries: readonly E[]): SenderState<E> =>
  withNumber({ ...state, queue: [...state.queue, ...entries] });

/** Takes away the message in flight, and keeps the latest `keep` of those that are acknowledged. */
export function settled<E extends Entry>(state: SenderState<E>, keep: number): SenderState<E> {
  const [head, ...numbered] = state.numbered;
  const isKept = keep > 0 && head !== undefined;
  const acknowledged = isKept ? [...state.acknowledged, head].slice(-keep) : state.acknowledged;
  return withNumber({ ...state, numbered, acknowledged });
}

/** Gives up all numbers and begins a higher epoch, in the same order. */
export const renumbered = <E extends Entry>(state: SenderState<E>, proposed: number): SenderState<E> =>
  inNewEpoch(
    {
      ...state,
      numbered: [],
      queue: [...state.numbered.map(({ entry }) => entry), ...state.queue],
      acknowledged: [],
    },
    proposed,
  );

/** Puts acknowledged messages from this number on in front of the message in flight; `undefined` where one is not held any more. */
export function resending<E extends Entry>(state: SenderState<E>, from: number): SenderState<E> | undefined {
  const head = state.numbered[0];
  if (head === undefined) return undefined;
  const held = state.acknowledged.filter(({ epoch, number }) => epoch === head.epoch && number >= from);
  if (held[0]?.number !== from || held.length !== head.number - from) return undefined;
  // Not kept a second time: a server that acknowledges without counting would be sent the same for ever.
  return { ...state, numbered: [...held, ...state.numbered], acknowledged: [] };
}

/** Gives the next message its number, once all numbered ones are done. */
function withNumber<E extends Entry>(state: SenderState<E>): SenderState<E> {
  const [entry, ...queue] = state.queue;
  if (state.numbered.length > 0 || entry === undefined) return state;
  const { epoch, next: number } = state;
  return { ...state, next: number + 1, numbered: [{ epoch, number, entry }], queue };
}

export const countOf = (state: SenderState<Entry> | undefined): number =>
  state === undefined ? 0 : state.numbered.length + state.queue.length;

// --- Its text ---

const version = 1;

export function encodeState(producer: string, state: SenderState<Entry>): string {
  const { epoch, next } = state;
  return JSON.stringify({
    version,
    producer,
    epoch,
    next,
    numbered: state.numbered.map(flat),
    queue: state.queue.map(({ payload }) => payload),
    acknowledged: state.acknowledged.map(flat),
  });
}

const flat = ({ epoch, number, entry }: Numbered<Entry>) => ({ epoch, number, payload: entry.payload });

/**
 * Reads a text that was saved; `undefined` where it is none of ours or broken.
 *
 * @throws `STORAGE_FAILED` for the state of a later version, and `BAD_OPTION` for another producer's: neither may be overwritten
 */
export function decodeState<E extends Entry>(
  producer: string,
  text: string,
  entryOf: (payload: string) => E,
): SenderState<E> | undefined {
  const saved = parsed(text);
  if (!isRecord(saved)) return undefined;
  if (isNumber(saved.version) && saved.version > version) {
    throw new IdempotencyError(
      'STORAGE_FAILED',
      'The state of this sender was saved by a later version of idemkit. Nothing has been sent; update.',
    );
  }
  if (saved.version !== version || typeof saved.producer !== 'string') return undefined;
  if (saved.producer !== producer) {
    throw new IdempotencyError(
      'BAD_OPTION',
      'The storage holds the state of another producer. Give each producer a storage of its own.',
    );
  }
  const { epoch, next, numbered, queue, acknowledged } = saved;
  if (!isNumber(epoch) || !isNumber(next)) return undefined;
  if (!areNumbered(numbered) || !areNumbered(acknowledged) || !areTexts(queue)) return undefined;
  const withEntry = ({ payload, ...place }: ReturnType<typeof flat>): Numbered<E> => ({
    epoch: place.epoch,
    number: place.number,
    entry: entryOf(payload),
  });
  return {
    epoch,
    next,
    numbered: numbered.map(withEntry),
    queue: queue.map(entryOf),
    acknowledged: acknowledged.map(withEntry),
  };
}

const isNumber = (value: unknown): value is number =>
  typeof value === 'number' && Number.isSafeInteger(value) && value >= 0;
const isPayload = (value: unknown): value is string =>
  typeof value === 'string' && parsed(value) !== undefined;
const areTexts = (value: unknown): value is string[] => Array.isArray(value) && value.every(isPayload);
const areNumbered = (value: unknown): value is ReturnType<typeof flat>[] =>
  Array.isArray(value) &&
  value.every(
    (one) => isRecord(one) && isNumber(one.epoch) && isNumber(one.number) && isPayload(one.payload),
  );

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

// --- A payload's text ---

/**
 * A payload as JSON.
 *
 * @throws `BAD_PAYLOAD` for what JSON would drop or change without a word
 */
export function encodePayload(payload: unknown): string {
  let text: string | undefined;
  try {
    text = JSON.stringify(payload, refuseLoss);
  } catch (cause) {
    if (IdempotencyError.is(cause)) throw cause;
    throw notJson('it holds a cycle, a bigint, or is too deep');
  }
  if (text === undefined) throw notJson(`it is ${kindOf(payload)}`);
  return text;
}

function refuseLoss(_: string, value: unknown): unknown {
  const isLost =
    typeof value === 'function' ||
    typeof value === 'symbol' ||
    (typeof value === 'number' && !Number.isFinite(value)) ||
    (isRecord(value) && (value instanceof Map || value instanceof Set || ArrayBuffer.isView(value)));
  if (isLost) throw notJson(`it holds ${kindOf(value)}`);
  return value;
}

const notJson = (why: string): IdempotencyError =>
  new IdempotencyError(
    'BAD_PAYLOAD',
    `The message cannot be kept as JSON, because ${why}. It was not taken; send plain data.`,
  );
