import { Chance } from '../../../lib/simulate/time/chance.ts';

/** What is drawn for one input: all of it follows from the seed. */
export class Draw {
  readonly #chance: Chance;

  constructor(seed: number) {
    this.#chance = new Chance(seed);
  }

  isTrue(rate: number): boolean {
    return this.#chance.isTrue('input', rate);
  }

  /** A whole number from `least` to `most`, both included. */
  between(least: number, most: number): number {
    return this.#chance.between('input', least, most);
  }

  pick<T>(list: readonly T[]): T {
    return this.#chance.pick('input', list);
  }

  shuffled<T>(list: readonly T[]): T[] {
    const left = [...list];
    const drawn: T[] = [];
    while (left.length > 0) drawn.push(...left.splice(this.between(0, left.length - 1), 1));
    return drawn;
  }

  list<T>(most: number, make: () => T): T[] {
    return Array.from({ length: this.between(0, most) }, make);
  }
}
