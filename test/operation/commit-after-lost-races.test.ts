/** A commit that claims, and that loses a race for its record: it claims again, as another owner. */
import middy from '@middy/core';
import { expect, test } from 'vitest';
import { storeUnavailable } from '../../lib/errors.ts';
import { idempotent, operation } from '../../lib/index.ts';
import type { Store, Takeover } from '../../lib/store.ts';
import { manualClock, memoryStore } from '../../lib/testing.ts';
import { deferred } from '../support/hands.ts';
import type { HttpCall } from '../support/http-events.ts';
import { paymentEvent } from '../support/http-events.ts';
import { lambdaContext } from '../support/invocation.ts';

const options = { namespace: 'orders', key: () => 'k', ttlSeconds: 60, lease: { seconds: 10 } };
const atCommit = { ...options, claim: 'at-commit' } as const;
const committing = (result: unknown) => (_event: unknown, context: unknown) =>
  operation(context).commit({ result });

/** A store whose record is another attempt's until the first commit has been stopped by it. */
function lostOnce() {
  const clock = manualClock();
  const store = memoryStore({ clock });
  let commits = 0;
  const claimCompleted: Store['claimCompleted'] = async (claim, completion) => {
    const written = await store.claimCompleted(claim, completion);
    if (++commits === 1) clock.advance(61_000);
    return written;
  };
  return { clock, store, slow: { ...store, claimCompleted } satisfies Store };
}

test('a takeover as another owner is not replaced by a repeated takeover from the first one', async () => {
  const clock = manualClock();
  const store = memoryStore({ clock });
  const takenOver = deferred<Takeover>();
  /** It is not answered, and will be sent again. */
  const takeOverUnanswered = async (asked: Takeover) => {
    await store.takeOver(asked);
    takenOver.resolve(asked);
    return deferred<never>().promise;
  };
  void idempotent(() => deferred().promise, { ...options, store })({});
  await expect.poll(() => store.records.length).toBe(1);
  clock.advance(11_000);

  const other = idempotent(async () => 'the other', {
    ...options,
    store: { ...store, takeOver: takeOverUnanswered },
  });
  let takeovers = 0;
  /** The first answer is lost; before the request is sent again, another attempt takes over, and its lease ends as well. */
  const takeOver = async (asked: Takeover) => {
    if (++takeovers > 1) return store.takeOver(asked);
    await store.takeOver(asked);
    clock.advance(11_000);
    void other({});
    await takenOver.promise;
    clock.advance(11_000);
    return store.takeOver(asked);
  };
  const complete: Store['complete'] = async (completion) => {
    expect(await store.takeOver(await takenOver.promise)).toMatchObject({ outcome: 'stopped' });
    return store.complete(completion);
  };
  const handler = idempotent(committing('ours'), { ...atCommit, store: { ...store, takeOver, complete } });

  expect(await handler({})).toBe('ours');
  expect(takeovers).toBe(2);
  expect(store.records).toMatchObject([{ status: 'COMPLETED', attempt: 4 }]);
});

test('a commit as another owner has its answer amended by other middlewares', async () => {
  const { store, slow } = lostOnce();
  const http = { ...atCommit, key: undefined as never };
  const first = idempotent(committing({ statusCode: 201, body: 'first' }), { ...http, store }) as HttpCall;
  await first(paymentEvent({ key: 'k' }), lambdaContext());
  const second = middy()
    .use(idempotent<unknown>({ ...http, store: slow }))
    .use({ after: (request) => Object.assign(request.response, { headers: { added: 'yes' } }) })
    .handler(committing({ statusCode: 201, body: 'second' }));
  expect(await second(paymentEvent({ key: 'k' }), lambdaContext())).toMatchObject({ body: 'second' });
  expect(await first(paymentEvent({ key: 'k' }), lambdaContext())).toMatchObject({
    body: 'second',
    headers: { added: 'yes' },
  });
});

test('a commit as another owner of which all answers were lost is found by a read', async () => {
  const { clock, store, slow } = lostOnce();
  await idempotent(committing('first'), { ...atCommit, store })({});
  const claimCompleted: Store['claimCompleted'] = async (claim, completion) => {
    const written = await slow.claimCompleted(claim, completion);
    if (written.outcome === 'stopped' && written.found?.owner !== claim.owner) return written;
    clock.advance(10_000);
    throw storeUnavailable(new Error('The answer was lost.'));
  };
  const handler = idempotent(committing('second'), { ...atCommit, store: { ...slow, claimCompleted } });
  expect(await handler({})).toBe('second');
});
