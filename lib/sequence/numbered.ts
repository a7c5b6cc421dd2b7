// biome-ignore-all lint/suspicious/noExplicitAny: without a handler, as under Middy, nothing says what type an event has
import type { Context } from 'aws-lambda';
import { numberedStore } from '../dynamo/index.ts';
import type { Settings } from '../engine/index.ts';
import { IdempotencyError, show } from '../errors.ts';
import { headerLinesOf, type IdentitySettings, type SenderPlace } from '../events/index.ts';
import { sha256 } from '../hash.ts';
import { defaultForgetAfterSeconds } from '../record.ts';
import { complete, isOneOf, isRecord, lifetimeInSeconds, type Rules } from '../validate.ts';
import { howToWrite, numberingIn, sequenceHeader } from './header.ts';
import { checkedNumbering, type Numbering } from './place.ts';

/** Options of {@link numbered}. Each has a default. */
export interface NumberedOptions {
  /**
   * After how many seconds of silence a sender is forgotten. More than 0, at most ten years. A repeat that comes later may
   * run again, if its number is 0 or the sender may start anywhere.
   *
   * @default 2 592 000 (30 days)
   */
  readonly forgetAfterSeconds?: number;
  /**
   * With which number a sender may begin that is not known. `'zero'`: with 0; any other is refused (`SEQUENCE_GAP`).
   * `'anywhere'`: with any, and all numbers below it count as done. It is for senders that counted before they were guarded.
   *
   * @default 'zero'
   */
  readonly start?: 'zero' | 'anywhere';
}

/** What a guard takes as its option `sequence`. {@link numbered} makes it. */
export interface Sequence<Event = any> {
  /** The place of an event, unchecked; `undefined` where it has none. */
  readonly numberingOf: (event: Event, context: Context) => Numbering | undefined;
  /**
   * The settings of a guard as they are with numbered senders.
   *
   * @throws `BAD_OPTION` for an option that does not go with it
   * @internal
   */
  readonly guarding: <Given extends NumberedSettings>(settings: Given, options: object) => Given;
  /** Whether the place comes in the header that {@link numbered} reads by itself. @internal */
  readonly isInHeader: boolean;
}

type NumberedSettings = Settings & IdentitySettings;

/**
 * For the option `sequence`: names an operation by its sender and number instead of a key. One item stands for the sender, and a
 * repeat is recognised for as long as the sender is.
 *
 * Without a function it reads the HTTP header `Idempotency-Sequence: producer="till-7", epoch=3, number=42`, which
 * `numberedSender` of `idemkit/client` writes.
 *
 * @param numberingOf is called with the event, or with each record of a batch; `undefined` means that the event has no number
 * @throws `BAD_OPTION`
 * @example idempotent(handler, { sequence: numbered((sale) => ({ producer: sale.till, epoch: sale.day, number: sale.number })) })
 */
export function numbered<Event = any>(options?: NumberedOptions): Sequence<Event>;
export function numbered<Event = any>(
  numberingOf: (event: Event, context: Context) => Numbering | undefined,
  options?: NumberedOptions,
): Sequence<Event>;
export function numbered(
  first?: NumberedOptions | ((event: any, context: Context) => Numbering | undefined),
  second?: NumberedOptions,
): Sequence {
  const isInHeader = typeof first !== 'function';
  if (isInHeader && second !== undefined) {
    throw new IdempotencyError(
      'BAD_OPTION',
      `Expected a function before the options of numbered(), got ${show(first)}. Call numbered((event) => ({ producer, epoch, number }), options), or numbered(options) for the header.`,
    );
  }
  const options = isInHeader ? first : second;
  const { forgetAfterSeconds, start } = complete<NumberedOptions, typeof rules>(
    options === undefined ? {} : options,
    rules,
  );
  const numberingOf = isInHeader ? numberingInHeader : first;
  return {
    numberingOf,
    isInHeader,
    guarding(settings, given) {
      refuseBeside(given);
      const { required, store, observe } = settings;
      return {
        ...settings,
        key: (event: never, context: Context) => keyOf(numberingOf(event, context), isInHeader, required),
        ttlMs: forgetAfterSeconds * 1000,
        cache: undefined,
        placed: placedIn,
        storeOf: ({ place }) =>
          place ? numberedStore(store(), { ...place, startsAnywhere: start === 'anywhere' }) : store(),
        observeRefusal:
          observe &&
          ((error, operation, durationMs) => {
            const refused = refusalOccurrence(error);
            if (refused) observe({ ...refused, operation, durationMs });
          }),
      };
    },
  };
}

function numberingInHeader(event: unknown): Numbering | undefined {
  const lines = headerLinesOf(event, sequenceHeader);
  if (lines !== undefined) return numberingIn(lines);
  throw new IdempotencyError(
    'MISSING_KEY',
    `numbered() reads the header ${sequenceHeader} of an HTTP request, and this event has no headers. Say where its number is: numbered((event) => ({ producer, epoch, number })).`,
  );
}

/** The place as the parts of a key. @throws `MISSING_KEY`, `BAD_KEY` */
function keyOf(
  given: unknown,
  isInHeader: boolean,
  isRequired: boolean,
): [string, number, number] | undefined {
  if (given !== undefined) {
    const { producer, epoch, number } = checkedNumbering(given);
    return [producer, epoch, number];
  }
  if (!isRequired) return undefined;
  throw new IdempotencyError(
    'MISSING_KEY',
    isInHeader
      ? `This request needs the header ${sequenceHeader}. ${howToWrite}`
      : 'This event has no producer, epoch and number. Send them, or set `required: false` to run such events unguarded.',
  );
}

/** The item of its sender, and the partition key of the operation itself, under which its steps and messages are. */
function placedIn(
  namespace: string,
  tenant: string | undefined,
  [producer, epoch, number]: readonly string[],
): { readonly pk: string; readonly place: SenderPlace } {
  const sender = `${namespace}#${sha256(JSON.stringify(['sequence', tenant ?? null, producer]))}`;
  const place = { sender, epoch: Number(epoch), number: Number(number) };
  return { pk: `${sender}:${epoch}:${number}`, place };
}

function refusalOccurrence(
  error: unknown,
): { type: 'fenced' } | { type: 'gap'; expectedNumber: number } | undefined {
  if (IdempotencyError.is(error, 'FENCED')) return { type: 'fenced' };
  if (IdempotencyError.is(error, 'SEQUENCE_GAP'))
    return { type: 'gap', expectedNumber: error.expectedNumber ?? 0 };
  return undefined;
}

/** Options that name an operation by a key, or that would answer for a sender that has been fenced. */
const besides: readonly [path: readonly string[], fix: string][] = [
  [['key'], 'A numbered operation has no other key. Leave one of them out.'],
  [['ttlSeconds'], 'A sender is remembered as a whole: write numbered({ forgetAfterSeconds: … }).'],
  [['cache'], 'A cached answer would reach a sender that has been fenced since. Leave it out.'],
  [['http', 'keyHeader'], `Numbers come in the header ${sequenceHeader}. Leave it out.`],
  [['http', 'keySyntax'], `Numbers come in the header ${sequenceHeader}. Leave it out.`],
];

function refuseBeside(options: object): void {
  for (const [path, fix] of besides) {
    const value = path.reduce<unknown>(
      (object, name) => (isRecord(object) ? object[name] : undefined),
      options,
    );
    if (value === undefined) continue;
    throw new IdempotencyError(
      'BAD_OPTION',
      `Option \`${path.join('.')}\` does not go with \`sequence\`. ${fix}`,
    );
  }
}

const rules = {
  forgetAfterSeconds: { ...lifetimeInSeconds, fallback: defaultForgetAfterSeconds },
  start: { expected: "'zero' or 'anywhere'", isFine: isOneOf('zero', 'anywhere'), fallback: 'zero' },
} satisfies Rules<NumberedOptions>;
