/** A failing input made smaller, for as long as it fails. */
import type { Input, Target } from './target.ts';

const maxTries = 2_000;

export async function shrunk(target: Target, failing: Input): Promise<Input> {
  let smallest = failing;
  let tries = 0;
  for (;;) {
    let found: Input | undefined;
    for (const candidate of smaller(smallest)) {
      if (++tries > maxTries) return smallest;
      if ((await complaintOf(target, candidate)) === undefined) continue;
      found = candidate;
      break;
    }
    if (found === undefined) return smallest;
    smallest = found;
  }
}

/** A target that throws has found something, too: its input is printed instead of its stack alone. */
export async function complaintOf(target: Target, input: Input): Promise<string | undefined> {
  try {
    return await target.complaint(input as never);
  } catch (error) {
    return `the check itself throws ${(error as Error)?.stack ?? String(error)}`;
  }
}

/** Each is smaller than `input` in one place; large parts are taken out first. */
export function* smaller(input: Input): Generator<Input> {
  if (typeof input === 'string') {
    yield* shorter(input.length, (from, to) => input.slice(0, from) + input.slice(to));
  } else if (typeof input === 'number') {
    if (input !== 0) yield 0;
    if (Number.isFinite(input) && Math.abs(input) > 1) yield Math.trunc(input / 2);
  } else if (isList(input)) {
    yield* shorter(input.length, (from, to) => [...input.slice(0, from), ...input.slice(to)]);
    for (const [index, item] of input.entries()) {
      for (const less of smaller(item)) yield input.with(index, less);
    }
  } else if (typeof input === 'object' && input !== null) {
    const members = Object.entries(input);
    yield* shorter(members.length, (from, to) =>
      Object.fromEntries([...members.slice(0, from), ...members.slice(to)]),
    );
    for (const [index, [name, member]] of members.entries()) {
      for (const less of smaller(member)) yield Object.fromEntries(members.with(index, [name, less]));
    }
  }
}

const isList = (input: Input): input is readonly Input[] => Array.isArray(input);

function* shorter(length: number, without: (from: number, to: number) => Input): Generator<Input> {
  for (let size = length; size >= 1; size = Math.floor(size / 2)) {
    for (let from = 0; from < length; from += size) yield without(from, Math.min(length, from + size));
  }
}
