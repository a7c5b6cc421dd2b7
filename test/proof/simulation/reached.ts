/** What a run has reached, counted: a simulation that stops exercising a fault must fail, not pass. */
import { IdempotencyError } from '../../../lib/index.ts';
import { httpAnswers } from '../auditors/http.ts';
import type { World } from './world.ts';

export function reachedIn({ faults, history }: World): ReadonlyMap<string, number> {
  for (const { name } of faults.struck) history.reach(`fault: ${name.slice(name.lastIndexOf(': ') + 2)}`);
  for (const { outcome, observed, requests, isProbe } of history.calls) {
    for (const event of observed) {
      const what = 'reason' in event ? `${event.type}, ${event.reason}` : event.type;
      history.reach(`a guard tells: ${what}`);
      if (event.type === 'replay' && requests === 0) history.reach('an answer from the cache');
      if (event.type === 'complete' && event.unavailable)
        history.reach(`an answer is not kept: ${event.unavailable}`);
    }
    const error = outcome?.kind === 'failed' ? outcome.error : undefined;
    if (!IdempotencyError.is(error) || isProbe) continue;
    history.reach(`refused: ${error.code}, effect ${error.effect}`);
  }
  const unamended = new Set<unknown>();
  for (const call of history.calls) {
    // After a commit, only an amendment is left to be recorded.
    const isCommitted = history.committed.some(({ execution }) => execution === `${call.id} ${call.key}`);
    if (!isCommitted || !call.observed.some(({ type }) => type === 'unrecorded')) continue;
    history.reach('an amendment fails');
    unamended.add(`${call.id} ${call.key}`);
  }
  for (const { execution, isReplayed } of history.facts(httpAnswers)) {
    if (isReplayed && unamended.has(execution)) history.reach('a replay of what could not be amended');
  }
  for (const { before, after, operation } of history.transitions) {
    if (after && before && after.attempt > before.attempt) history.reach('a takeover');
    if (after && before && after.window !== before.window) history.reach('a new window');
    if (after?.status === 'RELEASED') history.reach('a window is given back');
    if (after?.status !== 'COMPLETED') continue;
    if (before?.status === 'COMPLETED' && before.owner === after.owner) history.reach('an answer is amended');
    else if (operation === 'TransactWriteItems') history.reach('a commit is applied');
  }
  for (const _ of history.reserved) history.reach('a transaction is applied');
  return history.reached;
}
