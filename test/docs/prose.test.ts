import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { anchorsOf, linksOf, type ProseLine, proseLines } from '../support/markdown.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));
const folders = ['', 'docs', 'bench', 'bin', 'build', 'constructs', 'examples', 'lib', 'local', 'test'];
const documents = folders.flatMap((folder) =>
  readdirSync(join(root, folder), { recursive: folder !== '', encoding: 'utf8' })
    .filter((name) => name.endsWith('.md'))
    .map((name) => join(folder, name)),
);
const textOf = (document: string) => readFileSync(join(root, document), 'utf8');
const linesOf = (document: string) => proseLines(textOf(document));
const at = (document: string, { line, text }: ProseLine) => `${document}:${line}: ${text}`;

describe.each(documents)('%s', (document) => {
  test('has no line of text over 120 characters, addresses aside', () => {
    const withoutAddresses = (text: string) => text.replace(/\]\([^)]*\)|https?:\/\/\S+/g, ']');
    const long = linesOf(document).filter(({ text }) => withoutAddresses(text).length > 120);
    expect(long.map((line) => at(document, line))).toEqual([]);
  });

  test('begins each sentence on a line of its own', () => {
    const second = /(?<!\be\.g|\bi\.e|\b[A-Z])[.!?]\)? (?:[A-Z]|["'`*[(]+[A-Z])/;
    const crowded = linesOf(document).filter(({ text }) =>
      // A heading in bold at the beginning of a paragraph, and an item's number, are no sentences.
      second.test(text.replace(/^\s*(?:[-*] |\d+\. )?(?:\*\*[^*]+\*\* )?/, '').replace(/`[^`]*`/g, 'X')),
    );
    expect(crowded.map((line) => at(document, line))).toEqual([]);
  });

  test('links to files and headings that are there', () => {
    const broken = linksOf(textOf(document)).filter(({ text }) => {
      if (/^[a-z]+:/.test(text)) return false;
      const [path = '', anchor] = text.split('#');
      const target = path === '' ? document : normalize(join(dirname(document), path));
      if (!existsSync(join(root, target))) return true;
      return anchor !== undefined && !anchorsOf(textOf(target)).has(anchor);
    });
    expect(broken.map((link) => at(document, link))).toEqual([]);
  });

  test('names files of the repository that are there', () => {
    const named =
      /`((?:bench|bin|build|constructs|docs|examples|lib|local|test)\/[\w./-]+)(?:: `?(\w+)\(?\)?)?`?/g;
    const missing = textOf(document)
      .split('\n')
      .flatMap((text, index) =>
        [...text.matchAll(named)].map(([, path = '', name]) => ({ line: index + 1, path, name })),
      )
      .filter(({ path, name }) => {
        if (!existsSync(join(root, path))) return true;
        return name !== undefined && !new RegExp(`\\b${name}\\b`).test(textOf(path));
      });
    expect(
      missing.map(({ line, path, name }) => `${document}:${line}: ${path}${name ? `: ${name}` : ''}`),
    ).toEqual([]);
  });
});

test('the index of docs/ names every page', () => {
  const pages = documents
    .filter((name) => /^docs\/(?!README)/.test(name))
    .map((name) => name.slice('docs/'.length));
  const links = new Set(linksOf(textOf('docs/README.md')).map(({ text }) => text));
  expect(pages.filter((page) => !links.has(page))).toEqual([]);
});

test('the changelog has no heading twice in one version', () => {
  const versions = textOf('CHANGELOG.md').split(/^## /m).slice(1);
  for (const version of versions) {
    const headings = version.match(/^### .*$/gm) ?? [];
    expect(headings).toEqual([...new Set(headings)]);
  }
});
