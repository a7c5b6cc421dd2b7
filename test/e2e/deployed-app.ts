import { fileURLToPath } from 'node:url';
import { Duration, RemovalPolicy, Stack } from 'aws-cdk-lib';
import { HttpApi, HttpMethod } from 'aws-cdk-lib/aws-apigatewayv2';
import { HttpIamAuthorizer } from 'aws-cdk-lib/aws-apigatewayv2-authorizers';
import { HttpLambdaIntegration } from 'aws-cdk-lib/aws-apigatewayv2-integrations';
import { AttributeType, TableV2 } from 'aws-cdk-lib/aws-dynamodb';
import { FilterCriteria, FilterRule, Runtime, StartingPosition } from 'aws-cdk-lib/aws-lambda';
import { DynamoEventSource } from 'aws-cdk-lib/aws-lambda-event-sources';
import { NodejsFunction } from 'aws-cdk-lib/aws-lambda-nodejs';
import type { Construct } from 'constructs';
import {
  FifoIngest,
  IdempotencyTable,
  IdempotentFunction,
  type IdempotentFunctionProps,
  IdempotentQueue,
  OutboxPipe,
} from '../../constructs/index.ts';

const entryOf = (file: string): string => fileURLToPath(new URL(file, import.meta.url));
const entry = entryOf('./deployed-functions.ts');

/** An app with each of the constructs in it, and both ways for staged messages to leave. */
export class ShopStack extends Stack {
  readonly #table: IdempotencyTable;

  constructor(scope: Construct, id: string, bookUrl: string) {
    super(scope, id);
    this.#table = new IdempotencyTable(this, 'Records', { stream: true, alarms: false });
    const shop = new TableV2(this, 'Stock', {
      partitionKey: { name: 'pk', type: AttributeType.STRING },
      removalPolicy: RemovalPolicy.DESTROY,
    });

    const api = new HttpApi(this, 'Api');
    const receipt = this.#createFunction('Receipt', 'receipt');
    const order = this.#createFunction('Order', 'order', {
      level: 'committed',
      destinations: ['ledger', 'mail'],
      environment: { SHOP_TABLE: shop.tableName },
    });
    this.#table.grants.commit(order, shop);
    for (const [path, handler] of [
      ['/receipts', receipt],
      ['/orders', order],
    ] as const) {
      api.addRoutes({
        path,
        methods: [HttpMethod.POST],
        integration: new HttpLambdaIntegration(`${handler.node.id}Integration`, handler.function),
        authorizer: new HttpIamAuthorizer(),
      });
    }

    const ledger = new IdempotentQueue(this, 'Ledger', {
      consumer: this.#createFunction('Enter', 'enter', { environment: { BOOK_URL: bookUrl } }),
      alarms: false,
    });
    new OutboxPipe(this, 'LedgerOutbox', {
      table: this.#table,
      destination: 'ledger',
      queue: ledger,
      alarms: false,
    });

    const mail = new IdempotentQueue(this, 'Mail', { alarms: false });
    const relay = new NodejsFunction(this, 'Relay', {
      entry: entryOf('./deployed-relay.ts'),
      handler: 'relay',
      runtime: Runtime.NODEJS_24_X,
      environment: { QUEUE_URL: mail.queue.queueUrl },
    });
    mail.grantSendMessages(relay);
    relay.addEventSource(
      new DynamoEventSource(this.#table.table, {
        startingPosition: StartingPosition.TRIM_HORIZON,
        reportBatchItemFailures: true,
        retryAttempts: 10,
        filters: [FilterCriteria.filter({ eventName: FilterRule.isEqual('INSERT') })],
      }),
    );

    new FifoIngest(this, 'Ingest', {
      api,
      path: '/ingest',
      queue: new IdempotentQueue(this, 'Intake', { alarms: false }),
      messageGroupId: '$request.header.X-Customer',
      authorizer: 'none',
    });
  }

  #createFunction(
    id: string,
    handler: string,
    props: Partial<Omit<IdempotentFunctionProps, 'table' | 'entry'>> = {},
  ): IdempotentFunction {
    const timeout = Duration.seconds(8);
    return new IdempotentFunction(this, id, { table: this.#table, entry, handler, timeout, ...props });
  }
}
