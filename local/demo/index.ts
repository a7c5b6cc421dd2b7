/**
 * The example shop, started: what of it other rooms put to the test.
 */
export { type Demo, startDemo } from './demo.ts';
export type { Lane } from './kill-run.ts';
export { type PaymentProvider, startPaymentProvider } from './payment-provider.ts';
export { type Shop, settled } from './shop.ts';
