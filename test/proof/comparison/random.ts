import { Chance } from '../../../lib/simulate/time/chance.ts';

/** Chance that can be repeated: one seed, one course. */
export interface Random {
  /** From 0, below 1. */
  fraction(): number;
  below(count: number): number;
  chance(probability: number): boolean;
  pick<T>(choices: readonly T[]): T;
}

/** @param seed an integer; equal seeds give equal courses */
export function randomFrom(seed: number): Random {
  const stream = 'requests';
  const chance = new Chance(seed);
  return {
    fraction: () => chance.fraction(stream),
    below: (count) => chance.between(stream, 0, count - 1),
    chance: (probability) => chance.isTrue(stream, probability),
    pick: (choices) => chance.pick(stream, choices),
  };
}
