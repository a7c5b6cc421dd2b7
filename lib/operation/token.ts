import { createHash } from 'node:crypto';
import { IdempotencyError } from '../errors.ts';
import { kindOf } from '../validate.ts';

/**
 * A UUID-shaped hash of its parts: 36 characters, which AWS, Stripe and PayPal take for a token.
 *
 * @see https://www.rfc-editor.org/rfc/rfc9562#section-5.8 version 8: bits of the application's own making
 */
export function tokenOf(...parts: readonly string[]): string {
  const hash = createHash('sha256').update(JSON.stringify(parts)).digest();
  hash[6] = ((hash[6] ?? 0) & 0x0f) | 0x80;
  hash[8] = ((hash[8] ?? 0) & 0x3f) | 0x80;
  const hex = hash.toString('hex');
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20, 32)].join(
    '-',
  );
}

/** @throws `BAD_STEP` if `name` is not a string, or blank */
export function checkTokenName(name: unknown): void {
  if (typeof name === 'string' && name.trim() !== '') return;
  throw new IdempotencyError(
    'BAD_STEP',
    `Expected token() to be given a name, got ${kindOf(name)}. Without one, different requests would share a token, and all but the first be taken for repeats.`,
  );
}
