/** What the documents list is what the code has, and nothing is missing from a list. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { httpRules, rules } from '../../lib/guard/option-rules.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));
const textOf = (path: string) => readFileSync(join(root, path), 'utf8');
const matches = (text: string, pattern: RegExp) => [...text.matchAll(pattern)].map(([, name = '']) => name);

/** The text of a document from a heading up to the next one. */
function section(document: string, heading: string): string {
  const [, after = ''] = textOf(document).split(`\n${heading}\n`);
  return after.split(/^#+ /m)[0] ?? '';
}

/** What stands as code in a column of the tables of a text, by the table's rows. */
function column(text: string, at: number): string[][] {
  const rows = text.split('\n').filter((line) => /^\| (?!-)/.test(line));
  return rows.map((row) => matches(row.split(' | ')[at] ?? '', /`([^`]+)`/g));
}

test('the README lists every option of a guard, and no other', () => {
  const listed = column(
    section('README.md', '### `idempotent(options?)`, `idempotent(handler, options?)`'),
    0,
  ).flat();
  const options = Object.keys(rules).flatMap((name) =>
    name === 'http' ? Object.keys(httpRules).map((member) => `http.${member}`) : [name],
  );
  expect(listed.sort()).toEqual(options.sort());
});

describe("the README's list of entries", () => {
  const rows = column(section('README.md', '## API'), 0);
  const exports = column(section('README.md', '## API'), 1);
  const listed = new Map<string, string[]>();
  let entry = '';
  for (const [at, [name]] of rows.entries()) {
    entry = name ?? entry;
    if (entry === '') continue; // the table's own heading
    listed.set(entry, [...(listed.get(entry) ?? []), ...(exports[at] ?? [])]);
  }

  test('has every entry of the package', () => {
    const { name, exports: packed } = JSON.parse(textOf('package.json'));
    const entries = Object.keys(packed).filter((path) => !path.endsWith('.json'));
    expect([...listed.keys()].sort()).toEqual(entries.map((path) => name + path.slice(1)).sort());
  });

  test('has every function of the main entry', async () => {
    expect(listed.get('idemkit')?.sort()).toEqual(Object.keys(await import('../../lib/index.ts')).sort());
  });

  test('names nothing that its entry does not export', async () => {
    const modules: Readonly<Record<string, object>> = {
      'idemkit/client': await import('../../lib/client.ts'),
      'idemkit/client/node': await import('../../lib/client-node.ts'),
      'idemkit/testing': await import('../../lib/testing.ts'),
      'idemkit/store': await import('../../lib/store.ts'),
      'idemkit/constructs': await import('../../constructs/index.ts'),
    };
    for (const [name, module] of Object.entries(modules)) {
      expect(Object.keys(module)).toEqual(expect.arrayContaining(listed.get(name) ?? [name]));
    }
  });
});

test('the page of errors explains every code, and no other', () => {
  const [, union = ''] = /type IdempotencyErrorCode =([^;]+);/.exec(textOf('lib/errors.ts')) ?? [];
  const codes = matches(union, /'([A-Z_]+)'/g);
  expect(codes).not.toHaveLength(0);
  expect(column(section('docs/errors.md', '## Codes'), 0).flat().sort()).toEqual(codes.sort());
});

test('the page on observing names every type of event, and no other', () => {
  const types = new Set(matches(textOf('lib/observe/events.ts'), /type: '(\w+)'/g));
  const [list = ''] = /^The types of event are [^.]+\./m.exec(textOf('docs/observing.md')) ?? [];
  expect(matches(list, /`(\w+)`/g).sort()).toEqual([...types].sort());
});

test('the page on constructs lists every warning by its id', () => {
  const files = readdirSync(join(root, 'constructs')).filter((name) => name.endsWith('.ts'));
  const ids = new Set(files.flatMap((name) => matches(textOf(`constructs/${name}`), /'(idemkit:[\w:-]+)'/g)));
  expect(ids.size).toBeGreaterThan(0);
  const listed = column(section('docs/constructs.md', '## What is checked at synthesis'), 1).flat();
  expect(listed.filter((id) => id.startsWith('idemkit:')).sort()).toEqual([...ids].sort());
});
