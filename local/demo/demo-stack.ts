import { fileURLToPath } from 'node:url';
import { Duration } from 'aws-cdk-lib';
import { HttpMethod, HttpNoneAuthorizer } from 'aws-cdk-lib/aws-apigatewayv2';
import { HttpIamAuthorizer } from 'aws-cdk-lib/aws-apigatewayv2-authorizers';
import { HttpLambdaIntegration } from 'aws-cdk-lib/aws-apigatewayv2-integrations';
import { FilterCriteria, FilterRule, Runtime, StartingPosition } from 'aws-cdk-lib/aws-lambda';
import { DynamoEventSource } from 'aws-cdk-lib/aws-lambda-event-sources';
import { NodejsFunction } from 'aws-cdk-lib/aws-lambda-nodejs';
import { Construct } from 'constructs';
import { PaymentsStack, type PaymentsStackProps } from '../../bin/payments-stack.ts';
import {
  IdempotencyTable,
  IdempotentFunction,
  type IdempotentFunctionProps,
  IdempotentQueue,
} from '../../constructs/index.ts';
import { attribute } from '../../lib/record.ts';

/** Beside what is deployed, what `npm start` shows: other levels, leases and windows, another queue, another way out. */
export class DemoStack extends PaymentsStack {
  readonly #environment: Record<string, string>;

  constructor(scope: Construct, id: string, props: PaymentsStackProps & { readonly paymentsUrl: string }) {
    super(scope, id, props);
    this.#environment = { PAYMENTS_URL: props.paymentsUrl, SHOP_TABLE: this.shop.tableName };
    const variants = 'local/demo/demo-functions.ts';
    const payments = 'examples/payments.ts';
    const three = Duration.seconds(3);
    const long = Duration.seconds(29);

    this.#addPayments('Guarded', { entry: variants, handler: 'guarded', timeout: three, level: 'guarded' });
    this.#addPayments('ThreeSeconds', { entry: payments, timeout: three });
    this.#addPayments('ShortLease', { entry: variants, handler: 'shortLease', timeout: long });
    this.#addPayments('GuardedShortLease', {
      ...{ entry: variants, handler: 'guardedShortLease', timeout: long },
      level: 'guarded',
    });
    this.#addPayments('ShortWindow', {
      ...{ entry: payments, timeout: long, ttl: Duration.seconds(2) },
      namespace: 'short-window',
    });
    // Refuses a duplicate for no longer than its lease, and that is its timeout and a second.
    this.#addPayments('PayPage', { entry: variants, handler: 'keyOptional', timeout: three });

    // Tills number what they send.
    const sales = this.#createFunction(this, 'BookSale', { entry: 'examples/sales.ts', timeout: three });
    this.#addRoute(HttpMethod.POST, '/sales', sales);

    // A stream's records, which a scenario delivers as Lambda does.
    this.#createFunction(this, 'EnterSales', {
      ...{ entry: 'examples/sales-ledger.ts', keepsPositions: true, timeout: three },
    });

    // Its messages have no deduplication ids at all.
    const standard = this.#createFunction(this, 'EnterFromStandardQueue', {
      ...{ entry: 'examples/ledger.ts', namesKey: true, timeout: three },
    });
    new IdempotentQueue(this, 'Charges', { fifo: false, consumer: standard });

    this.#addRelayed();
  }

  /** The same way of a payment with the relay handler in place of the pipe, on a table of its own. */
  #addRelayed(): void {
    const scope = new Construct(this, 'Relayed');
    const table = new IdempotencyTable(scope, 'Idempotency', { stream: true });
    const timeout = Duration.seconds(29);
    const payments = this.#createFunction(scope, 'ChargePayment', {
      ...{ table, entry: 'examples/payments.ts', timeout },
      destinations: ['ledger'],
    });
    this.#addRoute(HttpMethod.POST, '/Relayed/payments', payments);
    const ledger = new IdempotentQueue(scope, 'Ledger', {
      consumer: this.#createFunction(scope, 'EnterInLedger', {
        table,
        entry: 'examples/ledger.ts',
        namesKey: true,
      }),
    });
    const relay = new NodejsFunction(scope, 'Relay', {
      entry: inRepository('examples/relay.ts'),
      runtime: Runtime.NODEJS_24_X,
      environment: { LEDGER_QUEUE_URL: ledger.queue.queueUrl },
      timeout: Duration.seconds(10),
    });
    ledger.grantSendMessages(relay);
    relay.addEventSource(
      new DynamoEventSource(table.table, {
        startingPosition: StartingPosition.TRIM_HORIZON,
        reportBatchItemFailures: true,
        retryAttempts: 100,
        filters: [
          FilterCriteria.filter({
            eventName: FilterRule.isEqual('INSERT'),
            dynamodb: { NewImage: { [attribute.destination]: { S: FilterRule.isEqual('ledger') } } },
          }),
        ],
      }),
    );
  }

  /** A function for payments, with a path that says its name. */
  #addPayments(id: string, props: FunctionProps): void {
    const handler = this.#createFunction(this, id, props);
    const path = `/${id}/payments`;
    this.#addRoute(HttpMethod.POST, path, handler);
    this.#addRoute(HttpMethod.OPTIONS, path, handler, new HttpNoneAuthorizer());
  }

  #createFunction(scope: Construct, id: string, { entry, ...props }: FunctionProps): IdempotentFunction {
    const created = new IdempotentFunction(scope, id, {
      table: this.table,
      level: 'committed',
      entry: inRepository(entry),
      environment: this.#environment,
      ...props,
    });
    this.shop.grant(created.function, 'dynamodb:PutItem', 'dynamodb:UpdateItem');
    return created;
  }

  #addRoute(
    method: HttpMethod,
    path: string,
    handler: IdempotentFunction,
    authorizer: HttpIamAuthorizer | HttpNoneAuthorizer = new HttpIamAuthorizer(),
  ): void {
    const integration = new HttpLambdaIntegration(`${handler.node.id}Integration`, handler.function);
    this.api.addRoutes({ path, methods: [method], integration, authorizer });
  }
}

type FunctionProps = Partial<Omit<IdempotentFunctionProps, 'entry'>> & {
  /** In the repository. */
  readonly entry: string;
};

const inRepository = (file: string): string => fileURLToPath(new URL(`../../${file}`, import.meta.url));
