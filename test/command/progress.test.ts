import { expect, test } from 'vitest';
import { Progress } from '../../lib/command/progress.ts';

/** What is said of a run of so many seconds, told of ten times a second. */
function said(seconds: number, isLive: boolean): string[] {
  const texts: string[] = [];
  let nowMs = 0;
  const progress = new Progress({ out: () => {}, error: (text) => texts.push(text), isLive }, () => nowMs);
  for (; nowMs < seconds * 1_000; nowMs += 100) progress.tell(nowMs / (seconds * 1_000));
  progress.end();
  return texts;
}

test('a short run says nothing', () => {
  expect(said(0.9, true)).toEqual([]);
  expect(said(4.9, false)).toEqual([]);
});

test('a long run is told in one line that is replaced, and cleared at the end', () => {
  const texts = said(2, true);
  expect(texts.slice(0, -1).every((text) => /^\r\d+ % of the operations have begun $/.test(text))).toBe(true);
  expect(texts.length).toBeGreaterThan(4);
  expect(texts.at(-1)).toMatch(/^\r +\r$/);
});

test('in a log it is a line every few seconds', () => {
  expect(said(12, false)).toEqual([
    ...['41 % of the operations have begun\n', '83 % of the operations have begun\n'],
  ]);
});
