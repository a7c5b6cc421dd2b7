/** Parts of items: `ProjectionExpression`, and what an update touched. */
import { type Path, type Placeholders, Reader } from '../../../lib/testing/dynamodb/tokens.ts';
import type { Item, Value } from '../../../lib/testing/dynamodb/values.ts';

export function readProjection(expression: string, placeholders: Placeholders): Path[] {
  const reader = new Reader('ProjectionExpression', expression, placeholders);
  const paths = [reader.path()];
  while (reader.takeSymbol(',')) paths.push(reader.path());
  reader.expectEnd();
  for (const [index, path] of paths.entries()) {
    const isWithin = (other: Path) => other.every((part, at) => at >= path.length || part === path[at]);
    if (paths.slice(0, index).some(isWithin)) {
      throw reader.refuse('Two document paths overlap with each other;');
    }
  }
  return paths;
}

/** Only what the paths lead to; elements of lists move together. */
export function project(item: Item, paths: readonly Path[]): Item {
  const projected = part({ M: item }, paths);
  return projected && 'M' in projected ? projected.M : {};
}

function part(value: Value, paths: readonly Path[]): Value | undefined {
  if (paths.some((path) => path.length === 0)) return value;
  const below = (step: string | number): Path[] =>
    paths.filter(([first]) => first === step).map(([, ...rest]) => rest);
  const steps = [...new Set(paths.map(([first]) => first as string | number))];
  if ('M' in value) {
    const entries = steps.flatMap((step) => {
      const found = typeof step === 'string' && Object.hasOwn(value.M, step) ? value.M[step] : undefined;
      const projected = found && part(found, below(step));
      return projected ? [[step, projected] as const] : [];
    });
    return entries.length > 0 ? { M: Object.fromEntries(entries) } : undefined;
  }
  if ('L' in value) {
    const places = steps.filter((step) => typeof step === 'number').sort((one, other) => one - other);
    const elements = places.flatMap((place) => {
      const found = value.L[place];
      const projected = found && part(found, below(place));
      return projected ? [projected] : [];
    });
    return elements.length > 0 ? { L: elements } : undefined;
  }
  return undefined;
}
