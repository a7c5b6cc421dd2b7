import { IdempotencyError } from '../errors.ts';
import { isRecord, isThenable, kindOf } from '../validate.ts';

/** Which operation of which sender an event is. */
export interface Numbering {
  /** Names the sender within its tenant. A string of 1 to 255 characters that is not blank. */
  readonly producer: string;
  /** A whole number from 0 to 2^53 − 1. A sender that has lost its count begins a higher one. */
  readonly epoch: number;
  /** A whole number from 0 to 2^53 − 1. The first of an epoch is 0, and each one is its predecessor plus 1. */
  readonly number: number;
}

const maxProducerLength = 255;

/** @throws `BAD_KEY`, naming the member; its message shows no value */
export function checkedNumbering(given: unknown): Numbering {
  if (!isRecord(given) || Array.isArray(given) || isThenable(given)) {
    throw badKey(
      `the place is ${kindOf(given)}`,
      'Return { producer, epoch, number }, or undefined for an event without.',
    );
  }
  const { producer, epoch, number } = given;
  if (typeof producer !== 'string' || producer.trim() === '') {
    throw badKey(
      `\`producer\` is ${kindOf(producer)}`,
      'It names the sender: give a string that is not blank.',
    );
  }
  if (producer.length > maxProducerLength) {
    throw badKey(
      `\`producer\` has ${producer.length} characters, more than the ${maxProducerLength} allowed`,
      'Give a shorter name, or a hash of it.',
    );
  }
  return { producer, epoch: checkedCount('epoch', epoch), number: checkedCount('number', number) };
}

function checkedCount(name: string, value: unknown): number {
  if (Number.isSafeInteger(value) && (value as number) >= 0) return value as number;
  const what = typeof value === 'number' ? 'no whole number from 0 to 2^53 − 1' : kindOf(value);
  throw badKey(
    `\`${name}\` is ${what}`,
    typeof value === 'string' || typeof value === 'bigint'
      ? 'Give it as a number: Number(…).'
      : 'Count up by one, from 0.',
  );
}

const badKey = (what: string, fix: string): IdempotencyError =>
  new IdempotencyError('BAD_KEY', `Of a numbered sender, ${what}. ${fix}`);
