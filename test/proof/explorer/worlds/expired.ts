import { keyed } from './keyed.ts';

/** Its window is shorter than its lease, and may end before. */
export const expired = keyed({
  name: 'expired',
  windowEnds: true,
  options: { ttlSeconds: 20 },
  async handle({ act, answer }) {
    await act('charge');
    return answer;
  },
});
