import { unlikeness } from '../validate.ts';

/** The known name that was probably meant. */
export const nearestOf = (name: string, known: readonly string[]): string | undefined =>
  [...known].sort((left, right) => unlikeness(name, left) - unlikeness(name, right))[0];
