import type { Context } from 'aws-lambda';
import { vi } from 'vitest';
import { type HttpResponse, type IdempotentOptions, idempotent } from '../../lib/index.ts';
import type { HttpEvent, HttpRequest } from '../support/http-events.ts';
import { type RecordingStore, recordingStore } from '../support/recording-store.ts';

export type Handler = (event: HttpEvent, context: Context) => unknown;
export type Options = Omit<IdempotentOptions<HttpEvent>, 'store'> & { readonly store?: RecordingStore };

export const created: HttpResponse = {
  statusCode: 201,
  headers: { 'Content-Type': 'application/json', Location: '/orders/1' },
  body: '{"id":1}',
};

/** A guarded API whose handler gives `answer`, or what a function makes of each call. */
export function api(
  answer: HttpResponse | Handler = created,
  { store = recordingStore(), ...options }: Options = {},
) {
  const handler = vi.fn<Handler>(typeof answer === 'function' ? answer : async () => answer);
  const guarded = idempotent(handler, { store, ...options });
  const call = async (event: HttpEvent, context?: Context) => (await guarded(event, context)) as HttpResponse;
  return { handler, store, call };
}

export const keyed = (key: string, request: HttpRequest = {}): HttpRequest => ({
  ...request,
  headers: [['Idempotency-Key', key], ...(request.headers ?? [])],
});
export const json = (body: string, request: HttpRequest = {}): HttpRequest => ({
  ...request,
  headers: [...(request.headers ?? []), ['Content-Type', 'application/json']],
  body,
});

/** All lines of a header of an answer, in whichever shape it is. */
export function header({ headers = {}, multiValueHeaders = {} }: HttpResponse, name: string): unknown[] {
  return [...Object.entries(headers), ...Object.entries(multiValueHeaders)]
    .filter(([known]) => known.toLowerCase() === name.toLowerCase())
    .flatMap(([, value]) => value);
}

export const problem = ({ body = '' }: HttpResponse) => JSON.parse(body) as Record<string, unknown>;
