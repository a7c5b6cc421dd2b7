import { keyed } from './keyed.ts';

export const stepped = keyed({
  name: 'stepped',
  async handle({ stage: { world }, op, execution, act, answer }) {
    await op.step('charge', async ({ token }) => {
      world.history.stepRuns.push({ execution, name: 'charge', token, atMs: world.time.nowMs });
      await act('charge');
    });
    return answer;
  },
});
