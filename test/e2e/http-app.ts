import { fileURLToPath } from 'node:url';
import { Duration } from 'aws-cdk-lib';
import { HttpMethod } from 'aws-cdk-lib/aws-apigatewayv2';
import { HttpLambdaIntegration } from 'aws-cdk-lib/aws-apigatewayv2-integrations';
import type { Construct } from 'constructs';
import { PaymentsStack, type PaymentsStackProps } from '../../bin/payments-stack.ts';
import { IdempotentFunction } from '../../constructs/index.ts';

/** The app of `cdk.json`, with a route for its payments that changes nothing, and the handlers of `functions.ts`. */
export class HttpStack extends PaymentsStack {
  constructor(scope: Construct, id: string, props: PaymentsStackProps) {
    super(scope, id, props);
    const entry = fileURLToPath(new URL('./functions.ts', import.meta.url));
    const timeout = Duration.seconds(20);
    const payments = this.node.findChild('ChargePayment') as IdempotentFunction;
    this.#addRoute(HttpMethod.GET, '/payments', payments);
    for (const [handler, path] of [
      ['picture', '/pictures'],
      ['plain', '/plain'],
      ['declined', '/declined'],
      ['mine', '/mine'],
    ] as const) {
      const created = new IdempotentFunction(this, handler, { table: this.table, entry, handler, timeout });
      this.#addRoute(HttpMethod.POST, path, created);
    }
  }

  #addRoute(method: HttpMethod, path: string, handler: IdempotentFunction): void {
    const integration = new HttpLambdaIntegration(`${method}${handler.node.id}`, handler.function);
    this.api.addRoutes({ path, methods: [method], integration });
  }
}
