import type { APIGatewayProxyEventV2 } from 'aws-lambda';
import { type HttpOptions, idempotent, numbered } from '../../lib/index.ts';
import { type MemoryStore, memoryStore } from '../../lib/testing.ts';
import { paymentEvent } from '../support/http-events.ts';
import type { Answer, Received } from './scripted-server.ts';

interface HttpAnswer {
  readonly statusCode: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body: string;
}

export interface NumberedApi {
  /** Answers a request as the guarded handler does. */
  work(request: Received): Promise<Answer>;
  /** What was processed, in order. */
  payloads(): unknown[];
}

export interface NumberedApiOptions {
  readonly http?: HttpOptions;
  readonly store?: MemoryStore;
  /** What the handler answers to a payload, once it has processed it. @default 201 */
  readonly answer?: (payload: unknown) => Promise<{ statusCode: number; body: string }>;
}

/** An API whose handler is guarded by the numbers of its senders. */
export function numberedApi({ http, store = memoryStore(), answer }: NumberedApiOptions = {}): NumberedApi {
  const done: unknown[] = [];
  const handler = async (event: APIGatewayProxyEventV2) => {
    const payload = JSON.parse(event.body ?? '');
    done.push(payload);
    return (await answer?.(payload)) ?? { statusCode: 201, body: `did ${payload}` };
  };
  const guard = idempotent(handler, { store, sequence: numbered(), ...(http && { http }) });
  return {
    payloads: () => done,
    async work({ headers, body }) {
      const event = {
        ...paymentEvent({ key: null }),
        headers: headers as Record<string, string>,
        body: body.toString(),
      };
      const { statusCode, ...rest } = (await guard(event)) as HttpAnswer;
      return { status: statusCode, ...rest };
    },
  };
}
