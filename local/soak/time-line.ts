import type { ProxiedRequest } from '../stack/index.ts';
import type { Customer } from './customer.ts';
import type { Kill } from './kills.ts';

/** Everything that is known of one order, in the order in which it happened. */
export function timeLineOf(
  { name, key, answers }: Customer,
  requests: readonly ProxiedRequest[],
  kills: readonly Kill[],
): string[] {
  const own = requests.filter((request) => {
    const text = JSON.stringify([request.body, request.response]);
    return text.includes(name) || text.includes(key);
  });
  const parts = new Set(own.map(({ caller }) => caller));
  const fromMs = answers[0]?.sentAtMs ?? 0;
  const toMs = Math.max(
    0,
    ...own.map(({ endedAtMs = 0 }) => endedAtMs),
    ...answers.map((one) => one.answeredAtMs),
  );
  const events = [
    ...answers.flatMap(({ sentAtMs, answeredAtMs, status = 'no answer', isReplay }) => [
      { atMs: sentAtMs, text: 'customer asks' },
      { atMs: answeredAtMs, text: `customer gets ${status}${isReplay ? ' replayed' : ''}` },
    ]),
    ...own.map((request) => ({ atMs: request.startedAtMs, text: wordsFor(request) })),
    ...kills
      .filter(({ name, atMs }) => parts.has(name) && atMs >= fromMs && atMs <= toMs)
      .map(({ atMs, name, operation = 'nothing in particular', when = 'at' }) => ({
        atMs,
        text: `${name} is killed ${when} ${operation}`,
      })),
  ];
  return events
    .sort((one, other) => one.atMs - other.atMs)
    .map(({ atMs, text }) => `${((atMs - fromMs) / 1000).toFixed(3).padStart(8)} s  ${text}`);
}

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
