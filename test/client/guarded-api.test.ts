import type { APIGatewayProxyEventV2 } from 'aws-lambda';
import { describe, expect, it } from 'vitest';
import { retryingFetch } from '../../lib/client.ts';
import { idempotent } from '../../lib/index.ts';
import { memoryStore } from '../../lib/testing.ts';
import { deferred } from '../support/hands.ts';
import { paymentEvent } from '../support/http-events.ts';
import { post, retryingBench } from './retrying.ts';
import type { Answer, Received } from './scripted-server.ts';

const bench = retryingBench();
const { serve, instantly } = bench;

interface HttpAnswer {
  readonly statusCode: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body: string;
}

describe('retryingFetch with an API that idemkit guards', () => {
  /** One handler behind a guard, called as a gateway would call it. */
  function guarded(handler: () => Promise<{ statusCode: number; body: string }>) {
    const guard = idempotent(handler as (event: APIGatewayProxyEventV2) => ReturnType<typeof handler>, {
      store: memoryStore(),
    });
    return async ({ headers, body }: Received): Promise<Answer> => {
      const event = {
        ...paymentEvent({ key: null }),
        headers: headers as Record<string, string>,
        body: body.toString(),
      };
      const { statusCode, ...answer } = (await guard(event)) as HttpAnswer;
      return { status: statusCode, ...answer };
    };
  }

  it('charges once although the answer is lost', async () => {
    let charges = 0;
    const work = guarded(async () => ({ statusCode: 201, body: `charge ${++charges}` }));
    for (const quote of [false, true]) {
      const server = await serve(['lose-answer', 'drop'], work);
      const response = await retryingFetch(server.origin, post, instantly({ quote }));
      expect(response.headers.get('Idempotent-Replayed')).toBe('true');
      expect([response.status, await response.text()]).toEqual([201, `charge ${quote ? 2 : 1}`]);
    }
    expect(charges).toBe(2);
  });

  it('gets the first answer for a duplicate that came while the first request ran', async () => {
    let charges = 0;
    const running = deferred();
    const finish = deferred();
    const work = guarded(async () => {
      running.resolve();
      await finish.promise;
      return { statusCode: 201, body: `charge ${++charges}` };
    });
    const server = await serve([], work);
    const first = retryingFetch(server.origin, post, { key: 'k-1' });
    await running.promise;
    const busy = deferred();
    const second = retryingFetch(
      server.origin,
      post,
      instantly({
        key: 'k-1',
        deadlineMs: 3_600_000,
        onRetry: ({ response }) => {
          expect(response?.status).toBe(409);
          finish.resolve();
          busy.resolve();
        },
      }),
    );
    await busy.promise;
    const [one, two] = await Promise.all([first, second]);
    expect([await one.text(), await two.text()]).toEqual(['charge 1', 'charge 1']);
    expect(charges).toBe(1);
  });
});
