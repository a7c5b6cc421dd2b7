/** How keys are made. */

let lastMs = 0;
let counter = 0;

/**
 * Makes a key: a UUIDv7. Each one sorts after all that this process or page has made before.
 *
 * RFC 9562 §6.2, method 1: `rand_a` is a 12-bit counter. In each new millisecond it starts at a random number below 2048.
 * While the clock stands still or steps back, the counter goes on. When it is used up, the timestamp runs ahead of the clock.
 *
 * @see https://www.rfc-editor.org/rfc/rfc9562#section-6.2
 */
export function newIdempotencyKey(): string {
  // Pages without TLS have no `crypto.randomUUID`.
  const random = crypto.getRandomValues(new Uint8Array(10));
  const seed = hex(random.subarray(0, 2));
  const nowMs = Date.now();
  if (nowMs <= lastMs && counter < 0xfff) {
    counter++;
  } else {
    lastMs = Math.max(nowMs, lastMs + 1);
    counter = Number.parseInt(seed, 16) & 0x7ff;
  }
  const time = lastMs.toString(16).padStart(12, '0');
  const count = counter.toString(16).padStart(3, '0');
  const tail = hex(random.subarray(2));
  const variant = (8 + (Number.parseInt(tail.charAt(0), 16) & 3)).toString(16);
  return `${time.slice(0, 8)}-${time.slice(8)}-7${count}-${variant}${tail.slice(1, 4)}-${tail.slice(4)}`;
}

const hex = (bytes: Uint8Array): string =>
  Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
