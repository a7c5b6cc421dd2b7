/**
 * A filter pattern of an event source mapping: names the fields it wants, each with a list of what it may be. Values are
 * compared as they are; of the comparison operators there are `prefix`, `suffix`, `exists` and `anything-but`.
 *
 * @see https://docs.aws.amazon.com/lambda/latest/dg/invocation-eventfiltering.html
 */
export type FilterPattern = Readonly<Record<string, unknown>>;

type Matcher = (value: unknown) => boolean;

/** @throws Error for what is no pattern, or has an operator that is not known here */
export function compileFilter(pattern: FilterPattern): Matcher {
  const fields = Object.entries(pattern).map(([name, wanted]) => {
    const matches = Array.isArray(wanted) ? anyOf(wanted, name) : nested(wanted, name);
    return (value: unknown): boolean => matches((value as Record<string, unknown> | undefined)?.[name]);
  });
  return (value) => fields.every((matches) => matches(value));
}

function nested(wanted: unknown, name: string): Matcher {
  if (typeof wanted !== 'object' || wanted === null) {
    throw new Error(
      `Filter: '${name}' is ${JSON.stringify(wanted)}; expected a list of values, or a nested pattern.`,
    );
  }
  return compileFilter(wanted as FilterPattern);
}

function anyOf(alternatives: readonly unknown[], name: string): Matcher {
  const matchers = alternatives.map((alternative): Matcher => {
    if (typeof alternative !== 'object' || alternative === null) return (value) => value === alternative;
    const [[operator, operand] = [], ...others] = Object.entries(alternative);
    if (others.length === 0 && operator !== undefined) {
      if (operator === 'exists') return (value) => (value !== undefined) === operand;
      if (operator === 'prefix') return (value) => typeof value === 'string' && value.startsWith(operand);
      if (operator === 'suffix') return (value) => typeof value === 'string' && value.endsWith(operand);
      if (operator === 'anything-but') {
        const unwanted: unknown[] = [operand].flat();
        return (value) => value !== undefined && !unwanted.includes(value);
      }
    }
    throw new Error(
      `Filter: '${name}' has ${JSON.stringify(alternative)}; known are prefix, suffix, exists and anything-but.`,
    );
  });
  return (value) => matchers.some((matches) => matches(value));
}
