import { createReadStream } from 'node:fs';

/** No line of a log is longer. */
const mostCharacters = 100_000;

/** Lines of a file. One that is very long comes in parts, so that no file fills the memory. */
export async function* linesOf(file: string): AsyncGenerator<string> {
  let rest = '';
  for await (const chunk of createReadStream(file, { encoding: 'utf8' })) {
    const lines = `${rest}${chunk}`.split('\n');
    rest = lines.pop() ?? '';
    for (const line of lines) yield line.endsWith('\r') ? line.slice(0, -1) : line;
    if (rest.length <= mostCharacters) continue;
    yield rest;
    rest = '';
  }
  if (rest !== '') yield rest;
}
