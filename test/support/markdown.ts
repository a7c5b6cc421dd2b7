/** A fenced code block of a Markdown document. */
export interface CodeBlock {
  /** The document's path, as it was given. */
  readonly document: string;
  /** The line of the opening fence, from 1. */
  readonly line: number;
  readonly language: string;
  /** What follows the language on the opening fence. */
  readonly info: string;
  readonly code: string;
}

/** The fenced code blocks of a document, those in lists and quotes too; fails on one that is never closed. */
export function codeBlocks(document: string, markdown: string): CodeBlock[] {
  const blocks: CodeBlock[] = [];
  const lines = markdown.split(/\r?\n/);
  for (let at = 0; at < lines.length; at++) {
    const opening = /^([ >]*)(`{3,}|~{3,})\s*([^\s`]*)\s*([^`]*?)\s*$/.exec(lines[at] ?? '');
    if (opening === null) continue;
    const [, prefix = '', fence = '', language = '', info = ''] = opening;
    const line = at + 1;
    const content: string[] = [];
    for (at++; !closes(lines[at], fence); at++) {
      if (at >= lines.length) throw new Error(`${document}:${line}: the code block is never closed`);
      content.push(withoutPrefix(lines[at] ?? '', prefix));
    }
    blocks.push({ document, line, language, info, code: content.join('\n') });
  }
  return blocks;
}

function closes(line: string | undefined, fence: string): boolean {
  const text = line?.replace(/^[ >]*/, '').trimEnd() ?? '';
  return text.startsWith(fence) && text.replaceAll(fence.charAt(0), '') === '';
}

/** Takes the quote marks and the indentation of the opening fence off a line, as far as the line has them. */
function withoutPrefix(line: string, prefix: string): string {
  let at = 0;
  while (at < prefix.length && (line[at] === ' ' || line[at] === prefix[at])) at++;
  return line.slice(at);
}

/** A line of a document that is read as text: no code, no table, no heading. */
export interface ProseLine {
  /** From 1. */
  readonly line: number;
  readonly text: string;
}

/** The lines of a document's text, without code blocks, tables and headings. */
export function proseLines(markdown: string): ProseLine[] {
  return withoutCode(markdown).filter(({ text }) => !/^\s*(?:\||#|$)/.test(text));
}

/** The targets of a document's links, code aside. */
export function linksOf(markdown: string): ProseLine[] {
  return withoutCode(markdown).flatMap(({ line, text }) =>
    [...text.replace(/`[^`]*`/g, '').matchAll(/\]\(([^)\s]+)\)/g)].map(([, target = '']) => ({
      line,
      text: target,
    })),
  );
}

/** The anchors of a document's headings, as GitHub makes them. */
export function anchorsOf(markdown: string): Set<string> {
  const anchors = new Set<string>();
  for (const { text } of withoutCode(markdown)) {
    const [, heading] = /^#{1,6} (.*)$/.exec(text) ?? [];
    if (heading === undefined) continue;
    const anchor = heading
      .toLowerCase()
      .replace(/[^\p{L}\p{N}\p{M}\s_-]/gu, '')
      .replace(/\s/g, '-');
    let unique = anchor;
    for (let count = 1; anchors.has(unique); count++) unique = `${anchor}-${count}`;
    anchors.add(unique);
  }
  return anchors;
}

function withoutCode(markdown: string): ProseLine[] {
  let fence: string | undefined;
  return markdown.split(/\r?\n/).flatMap((text, index) => {
    const [, opening] = /^[ >]*(`{3,}|~{3,})/.exec(text) ?? [];
    if (fence !== undefined) {
      if (closes(text, fence)) fence = undefined;
      return [];
    }
    fence = opening;
    return opening === undefined ? [{ line: index + 1, text }] : [];
  });
}
