/**
 * Seeded numbers. Each stream is told by its name and starts from seed and name alone, so that what is drawn from one, or is no longer
 * drawn because a fault was taken out, changes no other.
 */
export class Chance {
  readonly #seed: number;
  readonly #states = new Map<string, number>();

  constructor(seed: number) {
    this.#seed = seed;
  }

  /** The next number of a stream: from 0 up to, not including, 1. */
  fraction(stream: string): number {
    const state = ((this.#states.get(stream) ?? startOf(this.#seed, stream)) + 0x9e3779b9) | 0;
    this.#states.set(stream, state);
    return mixed(state) / 2 ** 32;
  }

  /** A whole number from `least` to `most`, both included. */
  between(stream: string, least: number, most: number): number {
    return least + Math.floor(this.fraction(stream) * (most - least + 1));
  }

  pick<T>(stream: string, list: readonly T[]): T {
    return list[Math.floor(this.fraction(stream) * list.length)] as T;
  }

  isTrue(stream: string, rate: number): boolean {
    return this.fraction(stream) < rate;
  }

  /** A random UUID, version 4. */
  uuid(stream: string): `${string}-${string}-${string}-${string}-${string}` {
    const hex = () =>
      Math.floor(this.fraction(stream) * 2 ** 32)
        .toString(16)
        .padStart(8, '0');
    const [a, b, c, d] = [hex(), hex(), hex(), hex()];
    return `${a}-${b.slice(0, 4)}-4${b.slice(5)}-a${c.slice(1, 4)}-${c.slice(4)}${d}`;
  }
}

function startOf(seed: number, stream: string): number {
  let hash = mixed(seed | 0);
  for (let index = 0; index < stream.length; index++) {
    hash = Math.imul(hash ^ stream.charCodeAt(index), 0x01000193);
  }
  return mixed(hash);
}

/** Every bit of the result depends on every bit of `value`. */
export function mixed(value: number): number {
  let bits = value | 0;
  bits = Math.imul(bits ^ (bits >>> 16), 0x85ebca6b);
  bits = Math.imul(bits ^ (bits >>> 13), 0xc2b2ae35);
  return (bits ^ (bits >>> 16)) >>> 0;
}
