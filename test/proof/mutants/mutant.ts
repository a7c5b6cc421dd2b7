export interface Mutant {
  /** What is wrong then. */
  readonly fault: string;
  readonly file: string;
  /** Stands exactly once in the file. */
  readonly find: string;
  readonly replace: string;
  /** `file: title` of the test that finds it, where a seed does so too seldom. */
  readonly test?: string;
}

/** File and title of the test that is to find a mutant. */
export function namedTest(test: string): { readonly file: string; readonly title: string } {
  const end = test.indexOf(': ');
  return { file: test.slice(0, end), title: test.slice(end + 2) };
}

/** Whether a test of this title is in `source`: written out, or made of a table, whose parts are in `source` then. */
export function hasTest(source: string, title: string): boolean {
  return [...source.matchAll(firstArgument)].some(([, , literal = '']) => {
    const written = literal.replaceAll(/\\(.)/g, '$1');
    const pattern = written.split(placeholder).map(escaped).join('(.+)');
    const parts = new RegExp(`^${pattern}$`, 's').exec(title)?.slice(1);
    return parts?.every((part) => source.includes(part)) ?? false;
  });
}

/** `text` as a regular expression that matches it and nothing else. */
export const escaped = (text: string): string => text.replaceAll(/[\\^$.*+?()[\]{}|/]/g, '\\$&');

const firstArgument = /\(\s*(['"`])((?:\\.|(?!\1)[\s\S])*?)\1/g;
const placeholder = /%[sdifjo#]|\$\{[^}]*\}|\$[\w.]+/;
