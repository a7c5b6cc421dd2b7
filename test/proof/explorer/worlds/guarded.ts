import { keyed } from './keyed.ts';

export const guarded = keyed({
  name: 'guarded',
  async handle({ act, answer }) {
    await act('charge');
    return answer;
  },
});
