import middy7 from '@middy/core';
import type { Context } from 'aws-lambda';
import middy6 from 'middy6';
import { type IdempotentOptions, idempotent, type SequencedOptions } from '../../lib/index.ts';
import { lambdaContext } from './invocation.ts';

export type Call = (event: unknown, context?: Context) => Promise<unknown>;
type Handler = (event: never, context: never) => unknown;
export type Door = (
  handler: Handler,
  options: IdempotentOptions | SequencedOptions,
  /** Middlewares inside of the guard; the wrapper has them around the handler by Middy 7. */
  ...inner: middy7.MiddlewareObj[]
) => Call;

const called =
  (handler: Handler): Call =>
  async (event, context = lambdaContext()) =>
    handler(event as never, context as never);

/** Every way to guard a handler of batches. */
export const doors: readonly (readonly [string, Door])[] = [
  [
    'Middy 6',
    (handler, options, ...inner) =>
      called(
        middy6()
          .use([idempotent(options), ...(inner as middy6.MiddlewareObj[])])
          .handler(handler as never),
      ),
  ],
  [
    'Middy 7',
    (handler, options, ...inner) =>
      called(
        middy7()
          .use([idempotent(options), ...inner])
          .handler(handler as never),
      ),
  ],
  [
    'the wrapper',
    (handler, options, ...inner) => {
      const chain =
        inner.length === 0
          ? handler
          : middy7()
              .use(inner)
              .handler(handler as never);
      return called(idempotent(chain as (event: unknown, context: Context) => unknown, options));
    },
  ],
];
