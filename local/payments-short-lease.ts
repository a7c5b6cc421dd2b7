import { pay } from '../examples/payments.ts';
import { idempotent } from '../lib/index.ts';

/** The payments example under a lease that ends before its work may: an attempt can be overtaken. */
export const handler = idempotent(pay, { lease: { seconds: 3 } });
