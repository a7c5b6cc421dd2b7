/** The CDK app of `cdk.json`. */
import { App, Validations } from 'aws-cdk-lib';
import { AwsSolutionsChecks } from 'cdk-nag';
import { PaymentsStack } from './payments-stack.ts';

const app = new App();
new PaymentsStack(app, 'Payments', {
  description: 'idemkit: payments that can be retried',
  paymentsUrl: app.node.tryGetContext('paymentsUrl'),
});
Validations.of(app).addPlugins(new AwsSolutionsChecks(app));
