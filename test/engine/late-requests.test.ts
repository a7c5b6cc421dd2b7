/** Requests that arrive after their sender has given them up, or has sent them again. */
import { type DynamoDBClient, PutItemCommand, type PutItemCommandInput } from '@aws-sdk/client-dynamodb';
import { describe, expect, test } from 'vitest';
import type { DynamoClient } from '../../lib/dynamo/client.ts';
import { dynamoStore, type IdempotentOptions } from '../../lib/index.ts';
import { failureOf, type Order, workbench } from '../support/work.ts';

const bench = workbench();

interface Network {
  /** The first claim's Put is held; what its sender knows of it: it has sent it again, or heard nothing of all its sendings. */
  readonly first: 'sent again' | 'never answered';
  /** Is awaited before a takeover is passed on. */
  beforeTakeover?(deliver: () => Promise<unknown>): Promise<unknown>;
}

/** A store whose network holds the first claim until `deliver`, which tells what became of it. */
function lateStore({ first, beforeTakeover }: Network) {
  const { tableName, client } = bench.table;
  let held: PutItemCommandInput | undefined;
  const deliver = () =>
    client.send(new PutItemCommand(held!)).then(
      () => 'applied',
      (error: Error) => error.name,
    );
  const network: DynamoClient = {
    async send(command): Promise<unknown> {
      if (command instanceof PutItemCommand && held === undefined) {
        held = command.input;
        if (first === 'never answered') throw new Error('socket hang up');
        return client.send(new PutItemCommand(held));
      }
      if (':newOwner' in (command.input.ExpressionAttributeValues ?? {})) await beforeTakeover?.(deliver);
      return client.send(command);
    },
  };
  return { store: dynamoStore({ tableName, client: network, clock: bench.clock }), deliver };
}

/** What another attempt's owner would have sent to give its claim back. */
async function giveBackLate(): Promise<void> {
  const { pk, owner, createdAt } = (await bench.claim())!;
  await bench.store().giveBack({ pk: pk!.S!, owner: owner!.S!, askedAtMs: Number(createdAt!.N) });
}

describe('a first Put that arrives when its repeat has found an abandoned claim, which is then given back', () => {
  const race = () =>
    lateStore({
      first: 'sent again',
      async beforeTakeover(deliver) {
        await giveBackLate();
        expect(await deliver()).toBe('applied');
      },
    }).store;

  test('makes the attempt what the record says: the first one of its own window', async () => {
    await bench.crash(() => {});
    const charges: string[] = [];
    const charge = (more: IdempotentOptions<Order>, isKilled: boolean) =>
      bench.guard(async (op) => {
        await op.step('charge', async ({ token }) => charges.push(token));
        if (isKilled) await new Promise(() => {});
        return { attempt: op.attempt, charges: charges.length };
      }, more);
    void charge({ store: race() }, true)({ id: bench.id });
    await expect.poll(async () => (await bench.records()).length).toBe(2);
    expect(await bench.claim()).toMatchObject({ attempt: { N: '1' }, status: { S: 'IN_PROGRESS' } });
    bench.clock.advance(61_000);
    // The finished step belongs to the window of the record, so it is not repeated.
    expect(await charge({}, false)({ id: bench.id })).toEqual({ attempt: 2, charges: 1 });
    expect(bench.seen.types()).toContain('takeover');
  });

  test('commits at once what claims at its commit', async () => {
    await bench.crash(() => {});
    const handler = bench.guard((op) => op.commit({ result: 'by the first Put' }), {
      store: race(),
      claim: 'at-commit',
    });
    expect(await handler({ id: bench.id })).toBe('by the first Put');
    const claim = await bench.claim();
    expect(claim).toMatchObject({ attempt: { N: '1' }, status: { S: 'COMPLETED' } });
    expect(claim?.window).toEqual(claim?.owner);
    expect(await bench.guard(() => 'again')({ id: bench.id })).toBe('by the first Put');
  });
});

describe('a Put that arrives after its attempt', () => {
  const corrected = (more: IdempotentOptions<Order> = {}) =>
    bench.guard((_, { amount }) => `amount ${amount}`, more)({ id: bench.id, amount: 2 });

  test('has given the claim back does not bind the key to the parameters of then', async () => {
    const { store, deliver } = lateStore({ first: 'sent again' });
    const declined = bench.guard(() => Promise.reject(new Error('declined')), { store });
    await expect(declined({ id: bench.id, amount: 1 })).rejects.toThrow('declined');
    expect(await deliver()).toBe('ConditionalCheckFailedException');
    bench.clock.advance(1);
    expect(await corrected()).toBe('amount 2');
  });

  test('has given up waiting for an answer leaves nothing that is busy or binds anybody', async () => {
    const { store, deliver } = lateStore({ first: 'never answered' });
    const refused = bench.guard(() => 'not run', { store });
    expect(await failureOf(refused({ id: bench.id, amount: 1 }))).toMatchObject({
      code: 'STORE_UNAVAILABLE',
      effect: 'none',
    });
    expect(await deliver()).toBe('ConditionalCheckFailedException');
    bench.clock.advance(1);
    expect(await corrected()).toBe('amount 2');
  });

  test('and several later ones have come to nothing is still kept out', async () => {
    const { store, deliver } = lateStore({ first: 'sent again' });
    for (const more of [{ store }, {}, {}]) {
      const declined = bench.guard(() => Promise.reject(new Error('declined')), more);
      await expect(declined({ id: bench.id, amount: 1 })).rejects.toThrow('declined');
      bench.clock.advance(1);
    }
    expect(await deliver()).toBe('ConditionalCheckFailedException');
  });
});

describe('a claim that was given back', () => {
  const decline = () =>
    bench
      .guard(() => Promise.reject(new Error('declined')))({ id: bench.id, amount: 1 })
      .catch(() => {});

  test.each([0, 1, 900])(
    'is free for other parameters at once, also on a clock %d ms behind',
    async (skewMs) => {
      await decline();
      bench.clock.advance(-skewMs);
      const answer = await bench.guard((op, { amount }) => [op.attempt, amount])({ id: bench.id, amount: 2 });
      expect(answer).toEqual([1, 2]);
    },
  );

  test('is free for a commit that is to claim, also on a clock behind', async () => {
    await decline();
    bench.clock.advance(-900);
    const handler = bench.guard((op, { amount }) => op.commit({ result: amount }), { claim: 'at-commit' });
    expect(await handler({ id: bench.id, amount: 2 })).toBe(2);
  });

  test('is one item without fingerprint, raw key or input, cleaned up a day later', async () => {
    const handler = bench.guard(() => Promise.reject(new Error('declined')), {
      keep: { key: true, input: true },
    });
    await handler({ id: bench.id, amount: 1 }).catch(() => {});
    const [record, ...others] = await bench.records();
    const nowMs = bench.clock.now();
    expect(others).toEqual([]);
    expect(record).toEqual({
      pk: record?.pk,
      sk: { S: 'claim' },
      status: { S: 'RELEASED' },
      owner: record?.owner,
      window: record?.owner,
      attempt: { N: '1' },
      leaseUntil: { N: '0' },
      createdAt: { N: String(nowMs) },
      endsAt: { N: String(nowMs + 1) },
      expiresAt: { N: String(Math.ceil((nowMs + 1) / 1000) + 86_400) },
    });
  });
});

describe('a claim that met a transaction, is given back and asked for again by a call that waits', () => {
  /** Fails the first claim by conflicts; `sent` sees every other request on its way. */
  function conflicting(sent: (command: Parameters<DynamoDBClient['send']>[0]) => Promise<unknown>) {
    const { tableName } = bench.table;
    let conflicts = 0;
    const network: DynamoClient = {
      async send(command): Promise<unknown> {
        const isClaim = command instanceof PutItemCommand && command.input.Item?.status?.S === 'IN_PROGRESS';
        if (!isClaim || ++conflicts > 6) return sent(command);
        const error = new Error('another transaction');
        throw Object.assign(error, { name: 'TransactionConflictException', $metadata: { attempts: 2 } });
      },
    };
    return {
      store: dynamoStore({ tableName, client: network, clock: bench.clock }),
      whenBusy: { waitMs: 10_000 },
    };
  }

  test('is won', async () => {
    const handler = bench.guard(
      () => 'done',
      conflicting((command) => bench.table.client.send(command)),
    );
    expect(await handler({ id: bench.id })).toBe('done');
  });

  test('is not ended by a late copy of the request that gave it back', async () => {
    let held: PutItemCommandInput | undefined;
    const options = conflicting((command) => {
      if (command instanceof PutItemCommand && command.input.Item?.status?.S === 'RELEASED')
        held = command.input;
      return bench.table.client.send(command);
    });
    const handler = bench.guard(async () => {
      const late = bench.table.client.send(new PutItemCommand(held!));
      await expect(late).rejects.toThrow('conditional');
      return 'done';
    }, options);
    expect(await handler({ id: bench.id })).toBe('done');
    expect(await bench.guard(() => 'again')({ id: bench.id })).toBe('done');
  });
});
