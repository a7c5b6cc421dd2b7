import { keyed } from './keyed.ts';

/** The other caller has the same key and another payload. */
export const mismatched = keyed({
  name: 'mismatched',
  payloads: ['paid', 'paid twice'],
  async handle({ act, answer }) {
    await act('charge');
    return answer;
  },
});
