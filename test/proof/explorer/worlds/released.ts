import { keyed } from './keyed.ts';

/** The first caller's handler throws: what it gives back, the other one may take. */
export const released = keyed({
  name: 'released',
  async handle({ execution, act, answer }) {
    if (execution.call.id === 'call 1') throw new Error('The handler failed.');
    await act('charge');
    return answer;
  },
});
