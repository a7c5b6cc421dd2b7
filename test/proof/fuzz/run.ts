/** Reads inputs that are drawn from seeds, one from each, until one is read wrongly. */
import { Draw } from './draw.ts';
import { complaintOf, shrunk } from './shrink.ts';
import type { Input, Target } from './target.ts';
import { targets as allTargets } from './targets/index.ts';

export interface FuzzOptions {
  readonly from: number;
  readonly count: number;
  /** The name of the only one that is to be tried. @default all, in turn */
  readonly only?: string | undefined;
  readonly targets?: readonly Target[];
}

export type Fuzzed =
  | { readonly outcome: 'sound'; readonly inputs: Readonly<Record<string, number>> }
  | {
      readonly outcome: 'broken';
      readonly target: string;
      readonly seed: number;
      readonly input: Input;
      readonly complaint: string;
    };

/** @throws `RangeError` where no target has the name `only` */
export async function fuzz({ from, count, only, targets = allTargets }: FuzzOptions): Promise<Fuzzed> {
  const tried = targets.filter(({ name }) => only === undefined || name === only);
  if (tried.length === 0) {
    throw new RangeError(`No reader is called so. There are: ${targets.map(({ name }) => name).join(', ')}.`);
  }
  const inputs: Record<string, number> = {};
  for (let seed = from; seed < from + count; seed++) {
    const target = tried[seed % tried.length] as Target;
    const input = target.make(new Draw(seed));
    inputs[target.name] = (inputs[target.name] ?? 0) + 1;
    if ((await complaintOf(target, input)) === undefined) continue;
    const smallest = await shrunk(target, input);
    const complaint = (await complaintOf(target, smallest)) ?? '';
    return { outcome: 'broken', target: target.name, seed, input: smallest, complaint };
  }
  return { outcome: 'sound', inputs };
}

/** What is printed of a failure: every character that is not ASCII is escaped. */
export function fuzzedText(fuzzed: Fuzzed): string {
  if (fuzzed.outcome === 'sound') {
    return Object.entries(fuzzed.inputs)
      .map(([name, count]) => `${name}: ${count} inputs`)
      .join('\n');
  }
  const { target, seed, input, complaint } = fuzzed;
  const printed = JSON.stringify(input).replace(
    /[^\x20-\x7e]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
  return [
    `${target}: ${complaint}`,
    `Input, shrunk: ${printed}`,
    `Again: npm run proof -- --fuzz 1 --seed ${seed} --reader '${target}'`,
  ].join('\n');
}
