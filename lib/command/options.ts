/** Reads options as they are typed. */
import { parseArgs } from 'node:util';
import { UsageError } from './command.ts';
import { nearestOf } from './nearest.ts';

/** `handlerP50Ms` is typed as `--handler-p50-ms`. */
export const typed = (name: string): string => name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);

/** Whether an option takes a value. */
export type OptionKinds = Readonly<Record<string, 'text' | 'flag'>>;

export interface Typed {
  /** By the names that are typed. A flag is `true`. */
  readonly options: Readonly<Record<string, string | true>>;
  readonly words: readonly string[];
}

/**
 * @param kinds by the names that are typed
 * @throws {@link UsageError} for an option that is unknown, given twice, or without its value
 */
export function read(args: readonly string[], kinds: OptionKinds): Typed {
  const { tokens } = parseArgs({
    args: [...args],
    options: Object.fromEntries(
      Object.entries(kinds).map(([name, kind]) => [name, { type: kind === 'flag' ? 'boolean' : 'string' }]),
    ),
    strict: false,
    tokens: true,
  });
  const options: Record<string, string | true> = Object.create(null);
  const words: string[] = [];
  for (const token of tokens) {
    if (token.kind === 'positional') words.push(token.value);
    if (token.kind !== 'option') continue;
    const { name, rawName, value } = token;
    const kind = Object.hasOwn(kinds, name) ? kinds[name] : undefined;
    if (kind === undefined || !rawName.startsWith('--')) {
      throw new UsageError(
        `Unknown option ${rawName}. Did you mean --${nearestOf(name, Object.keys(kinds))}? --help lists all.`,
      );
    }
    if (Object.hasOwn(options, name)) throw new UsageError(`Option ${rawName} is given twice.`);
    if (kind === 'flag' && value !== undefined) throw new UsageError(`Option ${rawName} takes no value.`);
    if (kind === 'text' && (value === undefined || value === '')) {
      throw new UsageError(`Option ${rawName} has no value. Write ${rawName}=…`);
    }
    options[name] = kind === 'flag' ? true : (value ?? '');
  }
  return { options, words };
}
