import { fileURLToPath } from 'node:url';
import { CfnOutput, Duration, Stack, type StackProps, Validations } from 'aws-cdk-lib';
import { AccessLogFormat } from 'aws-cdk-lib/aws-apigateway';
import {
  HttpApi,
  HttpMethod,
  HttpNoneAuthorizer,
  type HttpRoute,
  HttpStage,
  type IHttpRouteAuthorizer,
  LogGroupLogDestination,
} from 'aws-cdk-lib/aws-apigatewayv2';
import { HttpIamAuthorizer } from 'aws-cdk-lib/aws-apigatewayv2-authorizers';
import { HttpLambdaIntegration } from 'aws-cdk-lib/aws-apigatewayv2-integrations';
import { AttributeType, Billing, TableV2 } from 'aws-cdk-lib/aws-dynamodb';
import { LogGroup, RetentionDays } from 'aws-cdk-lib/aws-logs';
import type { Construct } from 'constructs';
// Outside this repository: from 'idemkit/constructs'.
import {
  IdempotencyDashboard,
  IdempotencyTable,
  IdempotentFunction,
  type IdempotentFunctionProps,
  IdempotentQueue,
  OutboxPipe,
} from '../constructs/index.ts';

/** What the stack is given from outside. */
export interface PaymentsStackProps extends StackProps {
  /** The URL of the payment provider. @default 'https://payments.example.com', which charges nobody */
  readonly paymentsUrl?: string;
  /** Decides who may call the routes. @default - IAM: callers that sign their requests and may `execute-api:Invoke` */
  readonly authorizer?: IHttpRouteAuthorizer;
}

/** The Common Log Format with the route key, because an HTTP API has no `$context.resourcePath`. */
const accessLogFormat = AccessLogFormat.custom(
  '$context.identity.sourceIp - - [$context.requestTime] "$context.routeKey $context.protocol" $context.status $context.responseLength $context.requestId',
);

/** Deploys the examples: payments and statements behind an HTTP API, an outbox, and the queue of the ledger. */
export class PaymentsStack extends Stack {
  readonly table: IdempotencyTable;
  /** Holds stock, orders and the ledger. */
  readonly shop: TableV2;
  readonly api: HttpApi;
  readonly #authorizer: IHttpRouteAuthorizer;
  readonly #functions: IdempotentFunction[] = [];

  constructor(scope: Construct, id: string, props: PaymentsStackProps = {}) {
    super(scope, id, props);
    this.#authorizer = props.authorizer ?? new HttpIamAuthorizer();
    this.table = new IdempotencyTable(this, 'Idempotency');
    this.api = this.#createApi();
    this.shop = new TableV2(this, 'Shop', {
      partitionKey: { name: 'id', type: AttributeType.STRING },
      billing: Billing.onDemand(),
      deletionProtection: true,
      pointInTimeRecoverySpecification: { pointInTimeRecoveryEnabled: true },
    });

    const payments = this.#createFunction('ChargePayment', 'payments.ts', {
      level: 'committed',
      environment: {
        PAYMENTS_URL: props.paymentsUrl ?? 'https://payments.example.com',
        SHOP_TABLE: this.shop.tableName,
      },
      timeout: Duration.seconds(29),
    });
    this.#addRoute(HttpMethod.POST, '/payments', payments);
    // A browser sends its preflight without a signature. The handler's CORS middleware answers it.
    const preflights = this.#addRoute(HttpMethod.OPTIONS, '/payments', payments, new HttpNoneAuthorizer());
    this.#addRoute(HttpMethod.POST, '/statements', this.#createFunction('IssueStatement', 'statements.ts'));

    const bookInLedger = this.#createFunction('EnterInLedger', 'ledger.ts', {
      level: 'committed',
      namespace: 'ledger',
      namesKey: true,
      environment: { SHOP_TABLE: this.shop.tableName },
    });
    const ledger = new IdempotentQueue(this, 'Ledger', { consumer: bookInLedger });
    for (const created of [payments, bookInLedger]) {
      this.shop.grant(created.function, 'dynamodb:PutItem', 'dynamodb:UpdateItem');
    }
    const outbox = new OutboxPipe(this, 'LedgerOutbox', {
      table: this.table,
      destination: 'ledger',
      queue: ledger,
    });

    new IdempotencyDashboard(this, 'Guards', { table: this.table, functions: this.#functions });
    new CfnOutput(this, 'Url', {
      value: this.api.apiEndpoint,
      description: 'POST /payments, POST /statements',
    });
    new CfnOutput(this, 'TableName', { value: this.table.tableName });

    // Findings of cdk-nag that are on purpose.
    for (const created of this.#functions) {
      Validations.of(created).acknowledge({
        id: 'AwsSolutions-IAM5[Resource::*]',
        reason: 'xray:PutTraceSegments and xray:PutTelemetryRecords are for no resource in particular.',
      });
    }
    for (const preflight of preflights) {
      Validations.of(preflight).acknowledge({
        id: 'AwsSolutions-APIG4',
        reason: 'Browsers send a CORS preflight without credentials, and it reaches no data.',
      });
    }
    Validations.of(outbox.deadLetterQueue).acknowledge({
      id: 'AwsSolutions-SQS3',
      reason: "It is the pipe's dead-letter queue, which cdk-nag looks for at queues only.",
    });
  }

  /** Deploys a handler of `examples/`, which keeps its records in the stack's table. */
  #createFunction(
    id: string,
    file: string,
    props: Partial<Omit<IdempotentFunctionProps, 'table' | 'entry'>> = {},
  ): IdempotentFunction {
    const entry = fileURLToPath(new URL(`../examples/${file}`, import.meta.url));
    const created = new IdempotentFunction(this, id, { table: this.table, entry, ...props });
    this.#functions.push(created);
    return created;
  }

  #createApi(): HttpApi {
    const api = new HttpApi(this, 'Api', { createDefaultStage: false });
    new HttpStage(this, 'Stage', {
      httpApi: api,
      stageName: '$default',
      autoDeploy: true,
      throttle: { rateLimit: 20, burstLimit: 40 },
      accessLogSettings: {
        destination: new LogGroupLogDestination(
          new LogGroup(this, 'AccessLog', { retention: RetentionDays.ONE_MONTH }),
        ),
        format: accessLogFormat,
      },
    });
    return api;
  }

  #addRoute(
    method: HttpMethod,
    path: string,
    handler: IdempotentFunction,
    authorizer: IHttpRouteAuthorizer = this.#authorizer,
  ): HttpRoute[] {
    const integration = new HttpLambdaIntegration(`${handler.node.id}Integration`, handler.function);
    return this.api.addRoutes({ path, methods: [method], integration, authorizer });
  }
}
