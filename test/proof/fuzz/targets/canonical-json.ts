import { canonicalJson } from '../../../../lib/events/canonical-json.ts';
import type { Draw } from '../draw.ts';
import { changed, drawDocument, spelled } from '../json-document.ts';
import { mutatedText } from '../mutate.ts';
import { isSame, meaningOf } from '../same-meaning.ts';
import { foreign, type Read, read, type Target } from '../target.ts';

/** As deep as a payload is read. */
export const maxLevels = 1_000;

interface Pair {
  readonly left: string;
  readonly right: string;
}

/** Two texts have one canonical text where they mean the same, and only there. */
export const canonicalJsonTarget = (reader: (text: string) => string = canonicalJson): Target => ({
  name: 'canonical JSON',
  make: drawPair,
  complaint({ left = '', right = '' }: Partial<Pair>) {
    const [first, second] = [outcome(reader, left), outcome(reader, right)];
    if (typeof first === 'string') return first;
    if (typeof second === 'string') return second;
    const [mine, other] = [meaningOf(left), meaningOf(right)];
    if (first.value === undefined || second.value === undefined || !mine || !other) return undefined;
    const areOne = first.value === second.value;
    const meanOne = isSame(mine.meaning, other.meaning);
    if (areOne && !meanOne) return 'two meanings have one canonical text';
    const isAsWritten = mine.hasHugeExponent || other.hasHugeExponent;
    return meanOne && !areOne && !isAsWritten ? 'one meaning has two canonical texts' : undefined;
  },
});

export function drawPair(draw: Draw): { left: string; right: string } {
  const document = drawDocument(draw);
  const left = spelled(draw, document);
  const kind = draw.between(0, 5);
  if (kind <= 1) return { left, right: spelled(draw, document) };
  if (kind <= 3) return { left, right: spelled(draw, changed(draw, document)) };
  return { left: kind === 4 ? left : mutatedText(draw, left), right: mutatedText(draw, left) };
}

/** The canonical text; absent where the text is refused as it is to be; or what is wrong with it. */
function outcome(reader: (text: string) => string, text: string): string | { readonly value?: string } {
  const meaning = meaningOf(text);
  const found: Read<string> = read(() => reader(text));
  if (found.kind === 'threw') {
    if (!(found.error instanceof SyntaxError)) return foreign(found.error);
    return meaning === undefined ? {} : 'it takes JSON for something else';
  }
  if (meaning === undefined) return 'it takes something else for JSON';
  if (found.kind === 'value')
    return meaning.levels > maxLevels ? 'it reads too deep' : { value: found.value };
  return found.code === 'BAD_PAYLOAD' && meaning.levels > maxLevels ? {} : `it refuses with ${found.code}`;
}
