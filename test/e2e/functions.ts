import middy from '@middy/core';
import type { APIGatewayProxyEventV2, APIGatewayProxyResultV2 } from 'aws-lambda';
import { type IdempotentOptions, idempotent } from '../../lib/index.ts';

/** Lambda functions for the tests of this folder: each answers in a shape that is easy to get wrong. */

type Handler = (event: APIGatewayProxyEventV2) => Promise<APIGatewayProxyResultV2>;

const guarded = (
  namespace: string,
  handler: Handler,
  options: IdempotentOptions<APIGatewayProxyEventV2> = {},
) =>
  middy<APIGatewayProxyEventV2, APIGatewayProxyResultV2>()
    .use(idempotent({ namespace, ...options }))
    .handler(handler);

let counter = 0;
const next = () => `${process.pid}-${++counter}`;

/** Bytes that are no UTF-8, cookies, headers of one exchange and headers that stay. */
export const picture = guarded('picture', async () => ({
  statusCode: 201,
  headers: {
    'content-type': 'image/png',
    'x-picture': next(),
    date: 'Tue, 24 Nov 2026 00:00:00 GMT',
    'x-request-id': next(),
  },
  cookies: ['session=secret; HttpOnly', 'theme=dark'],
  body: Buffer.from([0x89, 0x50, 0x4e, 0x47, 0xff, 0xfe, 0x00, counter]).toString('base64'),
  isBase64Encoded: true,
}));

/** What payload format 2.0 takes for the body of a 200. */
export const plain = guarded('plain', async () => ({ number: next() }) as unknown as string);

export const declined = guarded('declined', async () => ({
  statusCode: 402,
  body: JSON.stringify({ declined: next() }),
}));

/** Its callers are told apart by the token they send; in place of an authorizer, which this API does not have. */
export const mine = guarded(
  'mine',
  async (event) => ({ statusCode: 201, body: `${event.headers.authorization} ${next()}` }),
  { tenant: (event) => event.headers.authorization },
);
