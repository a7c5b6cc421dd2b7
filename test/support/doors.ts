import middy7 from '@middy/core';
import type { Context } from 'aws-lambda';
import middy6 from 'middy6';
import { type IdempotentOptions, idempotent } from '../../lib/index.ts';
import { lambdaContext } from './invocation.ts';

export type Call = (event: unknown, context?: Context) => Promise<any>;
export type Door = (
  handler: (event: any, context: any) => unknown,
  options: IdempotentOptions,
  /** Middlewares inside of the guard; the wrapper has them around the handler by Middy 7. */
  ...inner: middy7.MiddlewareObj<any, any>[]
) => Call;

const called =
  (handler: (event: any, context: any) => unknown): Call =>
  async (event, context = lambdaContext()) =>
    handler(event, context);

/** Every way to guard a handler of batches. */
export const doors: readonly (readonly [string, Door])[] = [
  [
    'Middy 6',
    (handler, options, ...inner) =>
      called(
        middy6<any, any>()
          .use([idempotent(options), ...(inner as middy6.MiddlewareObj<any, any>[])])
          .handler(handler as () => any),
      ),
  ],
  [
    'Middy 7',
    (handler, options, ...inner) =>
      called(
        middy7<any, any>()
          .use([idempotent(options), ...inner])
          .handler(handler as () => any),
      ),
  ],
  [
    'the wrapper',
    (handler, options, ...inner) =>
      called(
        idempotent(
          inner.length === 0
            ? handler
            : (middy7<any, any>()
                .use(inner)
                .handler(handler as () => any) as typeof handler),
          options,
        ),
      ),
  ],
];
