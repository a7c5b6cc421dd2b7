/** The choices of one schedule: some are given, the others are the first of their options. */
export class Choices {
  /** Which option was taken, of all that were decided. */
  readonly made: number[] = [];
  /** How many options each of them had. */
  readonly widths: number[] = [];
  readonly #given: readonly number[];

  constructor(given: readonly number[]) {
    this.#given = given;
  }

  /** Whether none of what was given is left: from here on no schedule has been before. */
  get areNew(): boolean {
    return this.made.length >= this.#given.length;
  }

  /** Takes one of the options. Where there is one only, nothing is decided. @throws where the given one is not there */
  pick<Option>(options: readonly Option[]): Option {
    if (options.length === 1) return options[0]!;
    const taken = this.#given[this.made.length] ?? 0;
    if (taken >= options.length) {
      throw new Error(
        `Choice ${this.made.length + 1} is ${taken}, and there are ${options.length} options only.`,
      );
    }
    this.made.push(taken);
    this.widths.push(options.length);
    return options[taken]!;
  }

  /** The next schedule depth first: the same up to the last choice that has an option left. `undefined` after the last one. */
  next(): number[] | undefined {
    const last = this.made.findLastIndex((taken, index) => taken + 1 < this.widths[index]!);
    return last < 0 ? undefined : [...this.made.slice(0, last), this.made[last]! + 1];
  }
}
