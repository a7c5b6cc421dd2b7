/** The doors of a guard, each as its callers see it: an answer, or an error that says why there is none. */
import middy7 from '@middy/core';
import type { Context } from 'aws-lambda';
import middy6 from 'middy6';
import { type IdempotentOptions, idempotent } from '../../../lib/index.ts';
import { invocation } from '../simulation/sandbox.ts';
import { pkOf, type World } from '../simulation/world.ts';
import { callerNamed, type ErrorProfile, HttpExchange, type HttpFormat } from './http-exchange.ts';
import type { Job } from './job.ts';

export type Guarded = (job: Job, context: Context | undefined) => Promise<unknown>;

/** A handler behind a door. Its answer is already what goes out there. */
export type JobHandler = (job: Job, context: Context) => Promise<unknown>;

export interface Door {
  readonly name: string;
  /** In which form of event; absent where the event is the job itself. */
  readonly http?: HttpFormat;
  readonly middy?: '6' | '7';
}

export const doors: readonly Door[] = [
  { name: 'wrapper' },
  { name: 'Middy 6', middy: '6' },
  { name: 'Middy 7', middy: '7' },
  { name: 'HTTP API', http: 'v2' },
  { name: 'REST API', http: 'v1' },
  { name: 'load balancer', http: 'alb' },
  { name: 'HTTP API, Middy 6', http: 'v2', middy: '6' },
  { name: 'REST API, Middy 7', http: 'v1', middy: '7' },
];

/** The partition of a job's record, as the guard behind a door has it. */
export const pkAt = ({ http }: Door, { tenant, key }: Job): string =>
  pkOf(http === undefined || http === 'alb' ? tenant : callerNamed(tenant), key);

export function openDoor(
  world: World,
  door: Door,
  profile: ErrorProfile,
  handler: JobHandler,
  options: IdempotentOptions,
): Guarded {
  if (door.http !== undefined) {
    const exchange = new HttpExchange(world, door.http, profile);
    const inner = (event: unknown, context: Context) =>
      handler(JSON.parse((event as { body: string }).body), context);
    const guarded = guard(world, door, inner, { ...options, ...exchange.options });
    return async (job, context) => exchange.read(await guarded(exchange.event(job), context));
  }
  const guarded = guard(world, door, (event, context) => handler(event as Job, context), {
    ...options,
    key: (job: Job) => job.key,
    tenant: (job: Job) => job.tenant,
  });
  return async (job, context) => {
    const answer = await guarded({ ...job }, context);
    if (answer === turnedAway) throw new Error('A middleware turned the call away.');
    return answer;
  };
}

const turnedAway = 'turned away';

type Handler = (event: unknown, context: Context) => Promise<unknown>;

function guard(world: World, door: Door, handler: Handler, options: IdempotentOptions) {
  if (door.middy === undefined) {
    return idempotent(handler, options) as (event: unknown, context: Context | undefined) => Promise<unknown>;
  }
  const middy = (door.middy === '6' ? middy6 : middy7) as typeof middy7;
  const chain = middy<unknown, unknown>()
    .use(idempotent(options))
    .use(others(world, door))
    .handler(handler as never);
  return (event: unknown, context: Context | undefined) =>
    (chain as unknown as Handler)(event, context ?? ({} as Context));
}

/** What other middlewares do to a guarded call: answer for the handler, add to its answer, fail after it. */
function others(world: World, { http }: Door) {
  const place = () => invocation.getStore()?.call?.id ?? '';
  return {
    before(): unknown {
      if (!world.fault(`${place()} in a middleware`, 'turned away')) return undefined;
      return http === undefined ? turnedAway : { statusCode: 403, body: turnedAway };
    },
    after(request: { response: unknown }): void {
      if (world.fault(`${place()} behind its handler`, 'middleware throws'))
        throw new Error('A middleware failed.');
      if (http === undefined) return;
      const response = request.response as { headers?: object };
      request.response = { ...response, headers: { ...response.headers, 'x-added': place() } };
    },
  };
}
