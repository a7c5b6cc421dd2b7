import type { ProxiedRequest } from '../stack/index.ts';
import type { Customer } from './customer.ts';
import type { Kill } from './kills.ts';

/** Everything that is known of one order, in the order in which it happened. */
export function timeLineOf(
  { name, key, answers }: Customer,
  requests: readonly ProxiedRequest[],
  kills: readonly Kill[],
): string[] {
  const texts = new Map(
    requests.map((request) => [request, JSON.stringify([request.body, request.response])]),
  );
  const withOneOf = (words: readonly string[]): ProxiedRequest[] =>
    requests.filter((request) => words.some((word) => texts.get(request)!.includes(word)));
  // A claim has the hash of the key only. A transaction of the order says which one that is.
  const hashes = withOneOf([name, key])
    .filter(({ operation }) => operation === 'TransactWriteItems')
    .flatMap((request) =>
      [...texts.get(request)!.matchAll(/"pk":\{"S":("[^"]+")\}/g)].map(([, pk = '']) => pk),
    );
  const own = withOneOf([name, key, ...new Set(hashes)]);
  const fromMs = answers[0]?.sentAtMs ?? 0;
  const events = [
    ...answers.flatMap(({ sentAtMs, answeredAtMs, status = 'no answer', isReplay }) => [
      { atMs: sentAtMs, text: 'customer asks' },
      { atMs: answeredAtMs, text: `customer gets ${status}${isReplay ? ' replayed' : ''}` },
    ]),
    ...own.map((request) => ({ atMs: request.startedAtMs, text: wordsFor(request) })),
    ...kills
      .filter((kill) => own.some((request) => isNear(kill, request)))
      .map(({ atMs, name, operation = 'nothing in particular', when = 'at' }) => ({
        atMs,
        text: `${name} is killed ${when} ${operation}`,
      })),
  ];
  return events
    .sort((one, other) => one.atMs - other.atMs)
    .map(({ atMs, text }) => `${((atMs - fromMs) / 1000).toFixed(3).padStart(8)} s  ${text}`);
}

/** A kill that may have to do with a request: of its sender, while it was under way or shortly after. */
const isNear = (
  { name, atMs }: Kill,
  { caller, startedAtMs, endedAtMs = startedAtMs }: ProxiedRequest,
): boolean => caller === name && atMs >= startedAtMs && atMs <= endedAtMs + 1_000;

function wordsFor(request: ProxiedRequest): string {
  const {
    caller = 'poller',
    operation,
    status,
    outcome,
    fault,
    struck,
    isRepeat,
    startedAtMs,
    endedAtMs,
  } = request;
  const notes = [
    ...(isRepeat ? ['again, on the wire'] : []),
    ...(fault === undefined ? [] : [typeof fault === 'string' ? fault : JSON.stringify(fault)]),
    ...(struck === undefined ? [] : [`kill ${struck}`]),
    ...(outcome === 'faulted' && !isRepeat ? ['answer lost'] : []),
    ...(endedAtMs === undefined ? [] : [`${endedAtMs - startedAtMs} ms`]),
  ];
  return `${caller} ${operation} → ${status ?? 'nothing'} (${notes.join(', ')})`;
}
