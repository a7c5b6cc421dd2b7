import { pay } from '../examples/payments.ts';
import { pay as payGuarded } from '../examples/payments-guarded.ts';
import { idempotent } from '../lib/index.ts';

/** The payments examples under a lease that ends before their work may: an attempt can be overtaken. */
export const guarded = idempotent(payGuarded, { lease: { seconds: 3 } });
export const committed = idempotent(pay, { lease: { seconds: 3 } });
