import middy from '@middy/core';
import type { APIGatewayProxyEventV2, APIGatewayProxyStructuredResultV2 } from 'aws-lambda';
import { cors, corsHeaders, pay } from '../../examples/payments.ts';
import { pay as payGuarded } from '../../examples/payments-guarded.ts';
import { idempotent } from '../../lib/index.ts';

/** The examples as `npm start` shows them besides. One module, so that they are bundled once. */

export { handler as guarded } from '../../examples/payments-guarded.ts';

/** Under a lease that ends before the work may: an attempt can be overtaken. */
export const guardedShortLease = idempotent(payGuarded, { lease: { seconds: 3 } });
export const shortLease = idempotent(pay, { lease: { seconds: 3 } });

/**
 * For the page. A request may come without a key: nothing guards it then. A second click waits for the first one's payment, and is
 * refused only where that takes longer.
 */
export const keyOptional = middy<APIGatewayProxyEventV2, APIGatewayProxyStructuredResultV2>()
  .use(idempotent({ required: false, whenBusy: { waitMs: 2_000 }, http: { answerHeaders: corsHeaders } }))
  .use(cors)
  .handler(pay);
