import middy from '@middy/core';
import type { APIGatewayProxyEventV2, APIGatewayProxyStructuredResultV2 } from 'aws-lambda';
import { cors, corsHeaders, pay } from '../examples/payments.ts';
import { idempotent } from '../lib/index.ts';

/** The payments example where a request may come without a key: nothing guards it then. */
export const handler = middy<APIGatewayProxyEventV2, APIGatewayProxyStructuredResultV2>()
  .use(idempotent({ required: false, http: { headers: corsHeaders } }))
  .use(cors)
  .handler(pay);
