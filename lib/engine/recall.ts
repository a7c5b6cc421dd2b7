import type { Context } from 'aws-lambda';
import { IdempotencyError } from '../errors.ts';
import type { ClaimRecord, Unavailable, UnavailableReason } from '../store/index.ts';
import { decode, type Encoded } from './codec.ts';
import { summarise } from './refusals.ts';
import type { Reply } from './reply.ts';
import type { Settings } from './settings.ts';

interface Caller {
  readonly settings: Settings;
  readonly event: unknown;
  readonly context: Context | undefined;
  readonly reply: Reply;
}

/**
 * The answer to a repeat: the stored one, as `onReplay` and its reply want it.
 *
 * @throws `RESULT_UNAVAILABLE`, `STORE_UNAVAILABLE`
 */
export async function replay(caller: Caller, record: ClaimRecord): Promise<unknown> {
  const { settings, event, context, reply } = caller;
  // What other middlewares add may yet replace a commit's answer, as long as its attempt runs.
  const isFinal = !reply.isAmended || record.leaseUntilMs <= settings.clock().now();
  const stored = await storedAnswer(settings, record, isFinal);
  const answer = settings.onReplay
    ? await settings.onReplay(stored as never, event as never, context as Context)
    : stored;
  return reply.replayed(answer);
}

/**
 * Every call decodes a copy of its own, so that what one caller does to its answer reaches no other.
 *
 * @param isFinal whether the cache may keep it
 * @throws `RESULT_UNAVAILABLE`, `STORE_UNAVAILABLE`
 */
export async function storedAnswer(
  settings: Settings,
  record: ClaimRecord,
  isFinal: boolean,
): Promise<unknown> {
  const store = settings.store();
  const { answer } = record;
  if (answer === undefined || answer.kind === 'unavailable') {
    if (answer && isFinal) settings.cache?.put(record);
    throw resultUnavailable(record, answer);
  }
  const bytes = answer.kind === 'inline' ? answer.bytes : await answer.read();
  if (bytes === undefined) throw resultUnavailable(record);
  let value: unknown;
  try {
    value = decode(bytes, { operation: record.pk, seal: store.seal });
    if (store.seal) value = await value;
  } catch (cause) {
    if (IdempotencyError.is(cause)) throw cause;
    throw resultUnavailable(record, { reason: 'unreadable' }, cause);
  }
  if (isFinal)
    settings.cache?.put(answer.kind === 'inline' ? record : { ...record, answer: { kind: 'inline', bytes } });
  return value;
}

const whyUnavailable: Record<UnavailableReason | 'missing' | 'unreadable', string> = {
  unserialisable: 'it could not be serialised',
  'too-large': 'it was too large to store',
  'not-sealed': 'it could not be encrypted',
  'not-final': 'it failed after the handler had returned',
  forgotten: "only its sender's last five answers are kept",
  missing: 'a part of it is gone',
  unreadable: 'it cannot be read back',
};

const fixes: Partial<Record<string, string>> = {
  unserialisable: 'return plain data',
  'too-large': 'keep it elsewhere and return where it is',
};

/** Why there is no answer or value, with the place and the fix where they are known. */
export function whyNot({
  reason,
  detail,
}: {
  readonly reason: keyof typeof whyUnavailable;
  readonly detail?: string;
}): string {
  const fix = fixes[reason];
  return `${whyUnavailable[reason]}${detail === undefined ? '' : ` (${detail}${fix ? `: ${fix}` : ''})`}`;
}

const told = new WeakSet<Settings>();

/**
 * The first caller gets its answer, and a later one's `RESULT_UNAVAILABLE` may be the first that anybody hears of it: so it
 * is told now, once a guard.
 */
export function tellUnavailable(settings: Settings, what: 'answer' | 'step', encoded: Encoded): void {
  if (encoded.kind === 'bytes' || told.has(settings)) return;
  told.add(settings);
  console.warn(
    `[idemkit] ${what === 'answer' ? "A handler's answer" : "A step's value"} could not be stored: ${whyNot(encoded)}. Repeats get RESULT_UNAVAILABLE.`,
  );
}

const resultUnavailable = (
  record: ClaimRecord,
  why: Unavailable | { readonly reason: 'missing' | 'unreadable' } = { reason: 'missing' },
  cause?: unknown,
): IdempotencyError =>
  new IdempotencyError(
    'RESULT_UNAVAILABLE',
    `The operation was completed and is not done again, but its answer is not available: ${whyNot(why)}.`,
    { record: summarise(record), cause },
  );
