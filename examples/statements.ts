import { randomBytes, randomUUID } from 'node:crypto';
import middy from '@middy/core';
import type { APIGatewayProxyEventV2, APIGatewayProxyStructuredResultV2 } from 'aws-lambda';
import { idempotent } from '../lib/index.ts'; // outside this repository: from 'idemkit'
import { metrics } from './metrics.ts';

/**
 * POST /statements: issues a statement of account. Each statement differs, and is over 400 KB even when compressed, which is
 * more than an item of a table can hold. A repeat gets the very same bytes all the same.
 */
export const handler = middy<APIGatewayProxyEventV2, APIGatewayProxyStructuredResultV2>()
  .use(idempotent({ observe: metrics }))
  .handler(async () => {
    console.info('Issuing a statement');
    const lines = Array.from({ length: 6_000 }, (_, index) => {
      const signature = randomBytes(64).toString('base64');
      return `${index + 1},${randomUUID()},${signature}`;
    });
    return {
      statusCode: 201,
      headers: { 'Content-Type': 'text/csv' },
      body: ['line,reference,signature', ...lines].join('\n'),
    };
  });
