/**
 * Reads the properties of a resource, one after the other. What nobody has asked for by the end is an error: it would
 * be deployed, and mean nothing here.
 */
export interface PropertyReader {
  /** The resource, and where in it this is. For errors. */
  readonly where: string;
  text(name: string): string;
  optionalText(name: string): string | undefined;
  optionalNumber(name: string): number | undefined;
  optionalFlag(name: string): boolean | undefined;
  /** @throws Error for another value */
  oneOf<Value extends string>(name: string, values: readonly Value[]): Value;
  optionalOneOf<Value extends string>(name: string, values: readonly Value[]): Value | undefined;
  optionalTexts(name: string): readonly string[] | undefined;
  object(name: string): PropertyReader;
  optionalObject(name: string): PropertyReader | undefined;
  objects(name: string): readonly PropertyReader[];
  /** Names and texts, such as the variables of an environment. */
  textsByName(name: string): Readonly<Record<string, string>>;
  /** As it is, for what has a grammar of its own. */
  raw(name: string): unknown;
  /** @throws Error that names what has not been read, here and in nested objects */
  end(): void;
}

/** `ignored` are names that may be there and are not read. */
export function readProperties(
  where: string,
  values: Readonly<Record<string, unknown>>,
  ignored: readonly string[] = [],
): PropertyReader {
  const read = new Set(ignored);
  const nested: PropertyReader[] = [];

  function get(name: string): unknown {
    read.add(name);
    return values[name];
  }
  const problem = (name: string, expected: string): Error =>
    new Error(`${where}: ${name} is ${JSON.stringify(values[name])}; expected ${expected}.`);

  function optional<Value>(name: string, is: (value: unknown) => value is Value, expected: string) {
    const value = get(name);
    if (value === undefined || is(value)) return value;
    throw problem(name, expected);
  }
  function required<Value>(name: string, value: Value | undefined, expected: string): Value {
    if (value === undefined) throw problem(name, expected);
    return value;
  }
  function nest(name: string, value: Readonly<Record<string, unknown>>): PropertyReader {
    const inner = readProperties(
      `${where}.${name}`,
      value,
      ignored.flatMap((path) => (path.startsWith(`${name}.`) ? [path.slice(name.length + 1)] : [])),
    );
    nested.push(inner);
    return inner;
  }

  const reader: PropertyReader = {
    where,
    text: (name) => required(name, reader.optionalText(name), 'a text'),
    optionalText: (name) => optional(name, isText, 'a text'),
    optionalNumber: (name) => optional(name, isNumber, 'a number'),
    optionalFlag: (name) => optional(name, isFlag, 'true or false'),
    oneOf: (name, known) => required(name, reader.optionalOneOf(name, known), known.join(' or ')),
    optionalOneOf<Value extends string>(name: string, known: readonly Value[]) {
      const isKnown = (value: unknown): value is Value => known.includes(value as Value);
      return optional(name, isKnown, `${known.join(' or ')}, which is all that is known here`);
    },
    optionalTexts: (name) =>
      optional(name, (value) => Array.isArray(value) && value.every(isText), 'a list of texts'),
    object: (name) => required(name, reader.optionalObject(name), 'an object'),
    optionalObject(name) {
      const value = optional(name, isObject, 'an object');
      return value && nest(name, value);
    },
    objects(name) {
      const list = optional(
        name,
        (value) => Array.isArray(value) && value.every(isObject),
        'a list of objects',
      );
      return (list ?? []).map((value: Record<string, unknown>, index: number) =>
        nest(`${name}[${index}]`, value),
      );
    },
    textsByName(name) {
      const isTexts = (value: unknown): value is Record<string, string> =>
        isObject(value) && Object.values(value).every(isText);
      return optional(name, isTexts, 'texts by name') ?? {};
    },
    raw: get,
    end() {
      for (const name of Object.keys(values)) {
        if (read.has(name)) continue;
        throw new Error(
          `${where}: the property ${name} (${JSON.stringify(values[name])}) is not known here.`,
        );
      }
      for (const inner of nested) inner.end();
    },
  };
  return reader;
}

const isText = (value: unknown): value is string => typeof value === 'string';
const isNumber = (value: unknown): value is number => typeof value === 'number';
const isFlag = (value: unknown): value is boolean => typeof value === 'boolean';
const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
