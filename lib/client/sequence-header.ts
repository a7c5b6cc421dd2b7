/** The header that names a message of a numbered sender. */
import { IdempotencyError } from '../errors.ts';

/** The place of a message in its sender's sequence. */
export interface SequenceNumber {
  /** Who numbers: 1 to 255 printable ASCII characters. */
  readonly producer: string;
  /** Higher than in every earlier life of the same producer. */
  readonly epoch: number;
  /** From 0 in each epoch, without a gap. */
  readonly number: number;
}

/** RFC 9651 §3.3.1: an Integer has at most 15 digits. */
export const mostInteger = 999_999_999_999_999;

/**
 * The value of the header `Idempotency-Sequence`: a Dictionary of RFC 9651, e.g. `producer="till-7", epoch=3, number=42`.
 *
 * @throws `BAD_KEY` for what the header cannot carry: a producer that is not printable ASCII, a number that is not whole or has more
 * than 15 digits
 */
export function sequenceHeader({ producer, epoch, number }: SequenceNumber): string {
  checkProducer(producer);
  for (const [name, value] of Object.entries({ epoch, number })) {
    if (Number.isInteger(value) && value >= 0 && value <= mostInteger) continue;
    throw new IdempotencyError('BAD_KEY', `Expected \`${name}\` to be a whole number of at most 15 digits.`);
  }
  return `producer="${producer.replace(/["\\]/g, '\\$&')}", epoch=${epoch}, number=${number}`;
}

/** @throws `BAD_KEY`; the producer is not shown, because it may be personal data */
export function checkProducer(producer: unknown): void {
  if (typeof producer === 'string' && /^[\x20-\x7e]{1,255}$/.test(producer) && producer.trim() !== '') return;
  throw new IdempotencyError(
    'BAD_KEY',
    'Expected `producer` to be 1 to 255 printable ASCII characters, not all blank. Use a serial number, or a hash of what you have.',
  );
}
