/** A process of its own, because bundling blocks and talks: writes the stacks of `npm start` into a folder. */
import { PaymentsStack } from '../../bin/payments-stack.ts';
import { DemoStack } from './demo-stack.ts';
import { synthesizeInto } from './deployed.ts';

const [outdir = '', paymentsUrl = ''] = process.argv.slice(2);
await synthesizeInto(outdir, (app) => [
  new PaymentsStack(app, 'Payments', { paymentsUrl }),
  new DemoStack(app, 'Demo', { paymentsUrl }),
]);
