import type { Auditor } from '../simulation/history.ts';

/** A step's token is the same in all attempts of a window, and another one for every other step and window. */
export const tokens: Auditor = {
  promise: 'a token belongs to one step of one window',
  audit(history) {
    const problems: string[] = [];
    const placeOf = new Map<string, string>();
    const tokenOf = new Map<string, string>();
    for (const { execution, name, token } of history.stepRuns) {
      if (!execution.isGuarded) continue;
      const place = `${execution.pk} ${history.windowOf(execution)} ${name}`;
      if ((tokenOf.get(place) ?? token) !== token) problems.push(`'${name}' has two tokens in one window`);
      if ((placeOf.get(token) ?? place) !== place) problems.push(`'${name}' has the token of another place`);
      tokenOf.set(place, token);
      placeOf.set(token, place);
    }
    return problems;
  },
};
