import { IdempotencyError } from '../../../lib/index.ts';
import { type Auditor, copiesApplied } from '../simulation/history.ts';

/** Who is told that nothing has been done can rely on it for ever. */
export const nothingDone: Auditor = {
  promise: "`effect: 'none'` only where nothing was done",
  audit: (history) => {
    const { calls, executions, effects, committed, claimsAtCommit } = history;
    const copied = new Set(history.facts(copiesApplied));
    return calls.flatMap(({ id, outcome }) => {
      const error = outcome?.kind === 'failed' ? outcome.error : undefined;
      if (!IdempotencyError.is(error) || error.effect !== 'none') return [];
      if (claimsAtCommit.has(id) && copied.has(id)) return [];
      const own = executions.filter(({ call }) => call.id === id);
      const acted = own.filter(
        (execution) =>
          effects.some((one) => one.execution === execution) ||
          committed.some((one) => one.execution === execution.id) ||
          !claimsAtCommit.has(id),
      );
      return acted.map(
        (execution) => `${id} was told ${error.code} with effect none, and ${execution.id} ran`,
      );
    });
  },
};
