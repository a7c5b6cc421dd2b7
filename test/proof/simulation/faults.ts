/** Which faults a run has. Each has a name of its own place, so that a run can be had again with some of them only. */
import type { Chance } from '../../../lib/simulate/time/chance.ts';

export interface Fault {
  /** Where it strikes, and what it is: `call 2 request 3 sending 1: lost answer`. */
  readonly name: string;
}

/** How often each kind strikes in this run; a kind that is not named does not. */
export type Rates = Readonly<Record<string, number>>;

export class Faults {
  /** What has struck. */
  readonly struck: Fault[] = [];
  /** Once none may strike any more. */
  areOver = false;
  readonly #chance: Chance;
  readonly #rates: Rates;
  readonly #only: ReadonlySet<string> | undefined;

  /** @param only names of the faults that may strike @default all */
  constructor(chance: Chance, rates: Rates, only?: ReadonlySet<string>) {
    this.#chance = chance;
    this.#rates = rates;
    this.#only = only;
  }

  /** Which of `kinds` strikes at `place`, if one does. To be asked once a place. */
  at<Kind extends string>(place: string, kinds: readonly Kind[]): Kind | undefined {
    if (this.areOver) return undefined;
    let drawn = this.#chance.fraction(`fault ${place}`);
    for (const kind of kinds) {
      const rate = this.#rates[kind] ?? 0;
      if (drawn >= rate) {
        drawn -= rate;
        continue;
      }
      const name = `${place}: ${kind}`;
      if (this.#only && !this.#only.has(name)) return undefined;
      this.struck.push({ name });
      return kind;
    }
    return undefined;
  }
}
