import type { Auditor } from '../simulation/history.ts';
import { answerOf } from './answers.ts';

/** A call touches the records of its own keys only, and is answered what belongs to its own tenant, key and payload. */
export const tenants: Auditor = {
  promise: 'nobody sees what belongs to another',
  audit: ({ calls }) =>
    calls.flatMap((call) => {
      const { id, tenant, key, payload, touched, pks } = call;
      const problems = [...touched]
        .filter((pk) => !pks.has(pk) && !pk.startsWith('unguarded#'))
        .map((pk) => `${id} touched the records of ${pk}`);
      const answer = answerOf(call) as { tenant?: string; key?: string; payload?: string } | undefined;
      if (!answer) return problems;
      const isOwn = answer.tenant === tenant && answer.key === key && answer.payload === payload;
      return isOwn
        ? problems
        : [...problems, `${id} was answered what belongs to ${answer.tenant} ${answer.key}`];
    }),
};
