import type { Auditor } from '../simulation/history.ts';

/** What a handler is told of its attempt is what the record says. */
export const attempts: Auditor = {
  promise: 'an attempt is the one that the record names',
  audit: ({ executions }) =>
    executions.flatMap(({ id, claim: record, attempt, isGuarded, endsAtMs }) => {
      if (!isGuarded || record === undefined) return [];
      if (record?.attempt !== attempt)
        return [`${id} was told attempt ${attempt}, the record says ${record?.attempt}`];
      return record.endsAtMs === endsAtMs
        ? []
        : [`${id} was told an end of its window at ${endsAtMs}, the record says ${record.endsAtMs}`];
    }),
};
