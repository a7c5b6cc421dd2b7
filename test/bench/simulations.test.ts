import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { filled, generated, page } from '../../bench/simulations.ts';

test('the page on simulating has the figures and the pictures that its seeds give', async () => {
  const made = await generated();
  expect(Object.keys(made.files)).toHaveLength(3);
  for (const [file, text] of Object.entries(made.files)) expect(readFileSync(file, 'utf8'), file).toBe(text);
  const text = readFileSync(page, 'utf8');
  expect(filled(text, made)).toBe(text);
  for (const file of Object.keys(made.files)) expect(text).toContain(`(${file.replace('docs/', '')})`);
});
