import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { cpuMs } from '../support/cpu.ts';

const lib = join(import.meta.dirname, '../../lib');
const length = 40_000;
/** A linear one takes less than a millisecond for this length, and a quadratic one seconds. */
const maxCpuMs = 400;

/** A literal of a regular expression, where a line of code may begin one. */
const literal =
  /(?<=[(,=:?[!&|]\s?|^\s*|=>\s)\/(?![/*])((?:\\.|\[(?:\\.|[^\]\\])*\]|[^/\\[])+)\/([dgimsuvy]*)(?=[\s.,;)\]:}]|$)/g;

function literalsIn(file: string): [string, RegExp][] {
  const lines = readFileSync(join(lib, file), 'utf8').split('\n');
  return lines
    .filter((line) => !/^\s*(?:\*|\/\/|\/\*)/.test(line))
    .flatMap((line) => [...line.matchAll(literal)])
    .map(([whole, source = '', flags]) => [`${file}: ${whole}`, new RegExp(source, flags)]);
}

/** Given nothing but texts in which each `[` has its `]`. */
const linearWhereUsed = new Set(['store/writes.ts: /\\[[^\\]]*\\]/g']);

const everyOne = readdirSync(lib, { recursive: true, encoding: 'utf8' })
  .filter((file) => file.endsWith('.ts'))
  .flatMap(literalsIn);

/** What `source` is made of, and characters of every kind: one of these, repeated, is its worst input. */
function piecesOf(source: string): string[] {
  const words = source.replace(/\\([^\w\s])/g, '$1').match(/[\w:/=%+-]{2,}/g) ?? [];
  const each = ' \t\naA0_"\'\\/%=;.,:#+-[({é\ud800'.split('');
  return [...new Set([...words, ...each, '%4', '\\"', ';a', '; ', ', ', 'a ', 'a=', '1.'])];
}

describe('no regular expression takes time that grows with the square of its input', () => {
  it('of all that there are', () => {
    expect(everyOne.length).toBeGreaterThan(25);
  });

  it.each(everyOne.filter(([name]) => !linearWhereUsed.has(name)))('%s', (_, pattern) => {
    const pieces = piecesOf(pattern.source);
    const openings = ['', ...pieces.filter((piece) => piece.length > 2 || '"%'.includes(piece))];
    for (const piece of pieces) {
      const middle = piece.repeat(Math.ceil(length / piece.length));
      for (const opening of openings) {
        // What makes the end of the pattern fail, after all has matched.
        for (const end of ['', '\n', '\u0000']) {
          const text = `${opening}${middle}${end}`;
          const cost = cpuMs(() => text.replace(pattern, ''));
          if (cost >= maxCpuMs) expect.fail(`${cost} ms for ${JSON.stringify([opening, piece, end])}`);
        }
      }
    }
  });
});
