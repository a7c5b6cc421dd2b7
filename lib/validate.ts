/** Checks options by a table of rules, and says what values are without showing them. */
import { badOption, show } from './errors.ts';

/** What an option must be. */
export interface Rule<Value = unknown> {
  /** What it must be, in words that follow "Expected … to be". */
  readonly expected: string;
  readonly isFine: (value: unknown) => boolean;
  /** Whether the object that holds this option must have it. */
  readonly isRequired?: boolean;
  /** The option's default. */
  readonly fallback?: NonNullable<Value>;
  /** Rules for the options inside this one, where it is given as an object. */
  readonly members?: Rules<object>;
}

/** Every option of `Options` with its rule. */
export type Rules<Options> = { readonly [Name in keyof Options]-?: Rule<Options[Name]> };

/** Other names of options, mapped to their names here. */
export interface OtherNames {
  /** Names that options had in earlier versions. */
  readonly renamed?: Readonly<Record<string, string>>;
  /** Names that options have in other libraries. */
  readonly elsewhere?: Readonly<Record<string, string>>;
}

/** `Options` with their defaults filled in, as their rules have them. */
export type Complete<Options, Table> = {
  readonly [Name in keyof Options]-?: Name extends keyof Table
    ? Table[Name] extends { readonly fallback: object; readonly members: infer Members }
      ? Complete<NonNullable<Options[Name]>, Members>
      : Table[Name] extends { readonly fallback: unknown }
        ? NonNullable<Options[Name]>
        : Options[Name] | undefined
    : never;
};

/**
 * Checks options, and returns a copy that has all defaults.
 *
 * @throws `BAD_OPTION` for a name without a rule, and for a value that breaks its rule
 */
export function complete<Options extends object, Table extends Rules<Options>>(
  options: Options,
  rules: Table,
  others: OtherNames = {},
  prefix = '',
): Complete<Options, Table> {
  checkKnown(prefix, options, Object.keys(rules), others);
  const completed: Record<string, unknown> = {};
  for (const [name, rule] of Object.entries(rules as Record<string, Rule>)) {
    const given = (options as Record<string, unknown>)[name];
    const value = given === undefined ? rule.fallback : given;
    completed[name] =
      rule.members && isRecord(value)
        ? complete<object, Rules<object>>(value, rule.members, others, `${prefix}${name}.`)
        : value;
    check(`${prefix}${name}`, rule.isRequired ? (given ?? null) : given, rule.expected, rule.isFine);
  }
  return completed as Complete<Options, Table>;
}

/**
 * Refuses unknown names. Without this, a mistyped option would silently have its default.
 *
 * @throws `BAD_OPTION`, which names the option that was probably meant
 */
export function checkKnown(
  prefix: string,
  options: unknown,
  known: readonly string[],
  { renamed = {}, elsewhere = {} }: OtherNames = {},
): void {
  if (options === undefined) return;
  if (!isPlain(options)) {
    const what = prefix ? `option \`${prefix.slice(0, -1)}\`` : 'the options';
    throw badOption(`Expected ${what} to be an object, got ${show(options)}.`);
  }
  for (const name of Object.keys(options)) {
    if (known.includes(name)) continue;
    if (Object.hasOwn(renamed, prefix + name)) {
      throw badOption(`Option \`${prefix}${name}\` is called \`${renamed[prefix + name]}\` now. Rename it.`);
    }
    const nearest = Object.hasOwn(elsewhere, name)
      ? elsewhere[name]
      : [...known].sort((left, right) => unlikeness(name, left) - unlikeness(name, right))[0];
    throw badOption(
      `Unknown option \`${prefix}${name}\`. Did you mean \`${prefix}${nearest}\`? Known: ${known.map((one) => prefix + one).join(', ')}.`,
    );
  }
}

/** @throws `BAD_OPTION` for a value that is given and is not fine */
export function check(
  name: string,
  value: unknown,
  expected: string,
  isFine: (value: unknown) => boolean,
): void {
  if (value === undefined || isFine(value)) return;
  throw badOption(`Expected option \`${name}\` to be ${expected}, got ${show(value)}.`);
}

/** Whether a value is an object as a literal makes it, or one without a prototype. It may come from another realm. */
export function isPlain(value: unknown): value is Record<string, unknown> {
  if (!isRecord(value)) return false;
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === null || Object.getPrototypeOf(prototype) === null;
}

/** The kind of a value, in words that show nothing of the value, which may be personal data. */
export function kindOf(value: unknown): string {
  if (value === null || value === undefined) return String(value);
  if (typeof value === 'number' && !Number.isFinite(value)) return String(value);
  if (typeof value === 'string') return value.trim() === '' ? 'a blank string' : 'a string';
  if (Array.isArray(value) && classOf(value) === 'Array') return 'an array';
  if (typeof value !== 'object') return `a ${typeof value}`;
  if (isThenable(value)) return 'a promise';
  if (isPlain(value)) return 'an object';
  const name = classOf(value);
  return name === undefined ? 'an instance of a class' : `${/^[AEIOU]/i.test(name) ? 'an' : 'a'} ${name}`;
}

/** The name of a value's class. It is code, not data, so a message may show it. */
export function classOf(value: object): string | undefined {
  const prototype: { constructor?: { name?: unknown } } | null = Object.getPrototypeOf(value);
  const name = prototype?.constructor?.name;
  return typeof name === 'string' && /^[\w$]{1,60}$/.test(name) ? name : undefined;
}

/** A member's name in a path. A key of a map may be data, so only what looks like a name is shown. */
export const memberPath = (name: string): string => (/^:?[A-Za-z_]\w{0,39}$/.test(name) ? `.${name}` : '[…]');

export const isThenable = (value: object): boolean => isFunction((value as { then?: unknown }).then);
export const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null;
export const isFunction = (value: unknown): boolean => typeof value === 'function';
export const isBoolean = (value: unknown): boolean => typeof value === 'boolean';
export const isBetween = (value: unknown, above: number, most: number): boolean =>
  typeof value === 'number' && value > above && value <= most;
export const isOneOf =
  (...values: readonly unknown[]) =>
  (value: unknown): boolean =>
    values.includes(value);

/** @param expected what the option must be, in words that follow "Expected … to be" */
export const rule = (expected: string, isFine: (value: unknown) => boolean): Rule<never> => ({
  expected,
  isFine,
});
export const aFunction = rule('a function', isFunction);
/** For what is checked elsewhere. */
export const checkedElsewhere = rule('', () => true);
/** For options and variables that say how long something lasts. */
export const lifetimeInSeconds = rule('a number of seconds, more than 0, at most ten years', (value) =>
  isBetween(value, 0, 315_360_000),
);

/** How unlike a typed name is to a known one. `ttl` means `ttlSeconds`, though it has more letters in common with others. */
export function unlikeness(typed: string, known: string): number {
  const [one, other] = [typed.toLowerCase(), known.toLowerCase()];
  if (other.startsWith(one)) return 0;
  const pairs = Array.from(one, (letter, index) => letter + one.charAt(index + 1));
  const lacking = pairs.filter((pair) => !other.includes(pair)).length;
  return lacking + Math.abs(one.length - other.length) / 10;
}
