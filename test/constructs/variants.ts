import { join } from 'node:path';
import { App, Duration, Stack, Stage } from 'aws-cdk-lib';
import { CognitoUserPoolsAuthorizer, RestApi } from 'aws-cdk-lib/aws-apigateway';
import { HttpApi } from 'aws-cdk-lib/aws-apigatewayv2';
import { HttpIamAuthorizer, HttpJwtAuthorizer } from 'aws-cdk-lib/aws-apigatewayv2-authorizers';
import { UserPool } from 'aws-cdk-lib/aws-cognito';
import { Billing, Capacity, MultiRegionConsistency, TableEncryptionV2 } from 'aws-cdk-lib/aws-dynamodb';
import { Vpc } from 'aws-cdk-lib/aws-ec2';
import { Rule } from 'aws-cdk-lib/aws-events';
import { Role, ServicePrincipal } from 'aws-cdk-lib/aws-iam';
import { Stream, StreamEncryption } from 'aws-cdk-lib/aws-kinesis';
import { Key } from 'aws-cdk-lib/aws-kms';
import { LogGroup } from 'aws-cdk-lib/aws-logs';
import { Topic } from 'aws-cdk-lib/aws-sns';
import { PaymentsStack } from '../../bin/payments-stack.ts';
import {
  FifoIngest,
  IdempotencyDashboard,
  IdempotencyTable,
  type IdempotencyTableProps,
  IdempotentFunction,
  type IdempotentFunctionProps,
  IdempotentQueue,
  type IdempotentQueueProps,
  IdempotentStream,
  type IIdempotencyTable,
  OutboxPipe,
} from '../../constructs/index.ts';
import { createFunction } from './support.ts';

const entry = join(import.meta.dirname, '../../examples/payments.ts');
const env = { account: '111122223333', region: 'eu-west-1' };

const createTable = (stack: Stack, props?: IdempotencyTableProps) =>
  new IdempotencyTable(stack, 'Idempotency', props);

const createHandler = (stack: Stack, table: IIdempotencyTable, props?: Partial<IdempotentFunctionProps>) =>
  new IdempotentFunction(stack, 'Orders', { entry, table, ...props });

const createConsumed = (stack: Stack, props?: IdempotentQueueProps) =>
  new IdempotentQueue(stack, 'Ledger', {
    consumer: createHandler(stack, createTable(stack)),
    ...props,
  });

const jwt = () => new HttpJwtAuthorizer('Jwt', 'https://issuer.example.com', { jwtAudience: ['shop'] });
const messageGroupId = '$context.authorizer.claims.sub';
const path = '/orders';

/** Stacks as people make them with these constructs, each in an app of its own. */
const variants: Readonly<Record<string, (stack: Stack) => void>> = {
  'a table': (stack) => {
    createTable(stack);
  },
  'a table that is provisioned, with a name and a stream': (stack) => {
    createTable(stack, {
      tableName: 'records',
      stream: true,
      contributorInsights: true,
      billing: Billing.provisioned({
        readCapacity: Capacity.fixed(5),
        writeCapacity: Capacity.autoscaled({ maxCapacity: 50 }),
      }),
    });
  },
  'a table with a key of yours, and a function that commits': (stack) => {
    const key = new Key(stack, 'Key', { enableKeyRotation: true });
    const table = createTable(stack, { encryption: TableEncryptionV2.customerManagedKey(key) });
    createHandler(stack, table, { level: 'committed' });
  },
  'a table with replicas, and a pipe': (stack) => {
    const table = createTable(stack, {
      replicas: [{ region: 'eu-central-1' }],
      acknowledgeLastWriterWins: true,
    });
    new OutboxPipe(stack, 'Outbox', {
      table,
      destination: 'ledger',
      queue: new IdempotentQueue(stack, 'Ledger'),
    });
  },
  'a table of strong consistency': (stack) => {
    createTable(stack, {
      replicas: [{ region: 'eu-central-1' }],
      witnessRegion: 'eu-west-2',
      multiRegionConsistency: MultiRegionConsistency.STRONG,
      timeToLive: false,
    });
  },
  'a table that is there already': (stack) => {
    createHandler(stack, IdempotencyTable.fromTableName(stack, 'Idempotency', 'records'));
  },
  'a table, a queue, keys and APIs that are there already': (stack) => {
    const tableArn = 'arn:aws:dynamodb:eu-west-1:111122223333:table/records';
    const encryptionKey = Key.fromKeyArn(stack, 'Key', 'arn:aws:kms:eu-west-1:111122223333:key/1234abcd');
    const table = IdempotencyTable.fromTableAttributes(stack, 'Idempotency', {
      tableArn,
      tableStreamArn: `${tableArn}/stream/2026-01-01T00:00:00.000`,
      encryptionKey,
    });
    const queueArn = 'arn:aws:sqs:eu-west-1:111122223333:ledger.fifo';
    const queue = IdempotentQueue.fromQueueArn(stack, 'Ledger', queueArn, { encryptionKey });
    createHandler(stack, table);
    new OutboxPipe(stack, 'Outbox', { table, queue, destination: 'ledger' });
    const httpApi = HttpApi.fromHttpApiAttributes(stack, 'HttpApi', { httpApiId: 'abcd1234' });
    new FifoIngest(stack, 'Ingest', {
      queue,
      path,
      api: httpApi,
      authorizer: 'none',
      messageGroupId: 'orders',
    });
    new FifoIngest(stack, 'RestIngest', {
      via: 'rest-api',
      queue,
      path,
      api: RestApi.fromRestApiAttributes(stack, 'RestApi', { restApiId: 'efgh5678', rootResourceId: 'root' }),
      authorizer: 'iam',
      messageGroupId: 'orders',
    });
  },
  'a function': (stack) => {
    createHandler(stack, createTable(stack));
  },
  'a function in a VPC': (stack) => {
    createHandler(stack, createTable(stack), { vpc: new Vpc(stack, 'Vpc') });
  },
  'a function with a role and a log group of yours': (stack) => {
    createHandler(stack, createTable(stack), {
      role: new Role(stack, 'Role', { assumedBy: new ServicePrincipal('lambda.amazonaws.com') }),
      logGroup: new LogGroup(stack, 'Log'),
    });
  },
  'a function of another kind': (stack) => {
    createTable(stack).protect(createFunction(stack, 'Orders'));
  },
  'a queue': (stack) => {
    createConsumed(stack);
  },
  'a standard queue that collects batches': (stack) => {
    createConsumed(stack, { fifo: false, batchSize: 100, maxBatchingWindow: Duration.seconds(5) });
  },
  'a queue of high throughput with a key of yours': (stack) => {
    createConsumed(stack, {
      highThroughput: true,
      encryptionKey: new Key(stack, 'Key', { enableKeyRotation: true }),
    });
  },
  'a queue that an alias reads': (stack) => {
    const orders = createHandler(stack, createTable(stack));
    new IdempotentQueue(stack, 'Ledger', { consumer: orders.function.addAlias('live') });
  },
  'a queue behind a topic and a rule': (stack) => {
    const queue = createConsumed(stack, { contentBasedDeduplication: true });
    new Topic(stack, 'Topic', { fifo: true, enforceSSL: true }).addSubscription(queue.asTopicSubscription());
    const rule = new Rule(stack, 'Rule', { eventPattern: { source: ['shop'] } });
    rule.addTarget(queue.asRuleTarget({ messageGroupId: 'shop' }));
  },
  'a stream of Kinesis and a topic of Kafka': (stack) => {
    const consumer = createHandler(stack, createTable(stack), { keepsPositions: true, level: 'committed' });
    const stream = new Stream(stack, 'Stream', { encryption: StreamEncryption.MANAGED });
    new IdempotentStream(stack, 'Sales', { source: { kinesis: stream }, consumer });
    const msk = { clusterArn: 'arn:aws:kafka:eu-west-1:111122223333:cluster/sales/1', topic: 'sales' };
    new IdempotentStream(stack, 'Topic', { source: { msk }, consumer, provisionedPollers: {} });
  },
  'a pipe with keys of yours': (stack) => {
    const key = new Key(stack, 'Key', { enableKeyRotation: true });
    const table = createTable(stack, { encryption: TableEncryptionV2.customerManagedKey(key) });
    const queue = new IdempotentQueue(stack, 'Ledger', { encryptionKey: key });
    new OutboxPipe(stack, 'Outbox', { table, queue, destination: 'ledger' });
  },
  'an ingest through an HTTP API': (stack) => {
    const queue = createConsumed(stack);
    new FifoIngest(stack, 'Ingest', { queue, path, authorizer: jwt(), messageGroupId });
  },
  'an ingest through an HTTP API of yours': (stack) => {
    new FifoIngest(stack, 'Ingest', {
      queue: createConsumed(stack),
      path,
      api: new HttpApi(stack, 'Api'),
      authorizer: new HttpIamAuthorizer(),
      messageGroupId: '$context.identity.userArn',
    });
  },
  'an ingest through a REST API': (stack) => {
    new FifoIngest(stack, 'Ingest', {
      via: 'rest-api',
      queue: createConsumed(stack),
      path,
      authorizer: 'iam',
      messageGroupId: '$context.identity.userArn',
      cloudWatchRole: true,
    });
  },
  'an ingest through a REST API of yours': (stack) => {
    new FifoIngest(stack, 'Ingest', {
      via: 'rest-api',
      queue: createConsumed(stack),
      path: '/v1/orders',
      api: new RestApi(stack, 'Api', { cloudWatchRole: false }),
      authorizer: new CognitoUserPoolsAuthorizer(stack, 'Cognito', {
        cognitoUserPools: [new UserPool(stack, 'Users')],
      }),
      messageGroupId,
    });
  },
  'an ingest through a function': (stack) => {
    const handler = createHandler(stack, createTable(stack));
    const queue = new IdempotentQueue(stack, 'Ledger');
    new FifoIngest(stack, 'Ingest', { via: 'function', queue, handler, path, authorizer: jwt() });
  },
  'a dashboard': (stack) => {
    const table = createTable(stack);
    const functions = [createHandler(stack, table)];
    new IdempotencyDashboard(stack, 'Guards', { table, functions, namespaces: ['statements'] });
  },
  'stacks that share': (stack) => {
    const records = new Stack(stack.node.root as App, 'Records', { env });
    const table = createTable(records);
    const queue = new IdempotentQueue(records, 'Ledger');
    new OutboxPipe(records, 'Outbox', { table, queue, destination: 'ledger' });
    createHandler(stack, table, { level: 'committed' });
    new FifoIngest(stack, 'Ingest', { queue, path, authorizer: jwt(), messageGroupId });
  },
};

/** The app of a variant, not bundled. */
export function createVariant(name: string): { readonly app: App; readonly stacks: () => Stack[] } {
  const app = new App({ context: { 'aws:cdk:bundling-stacks': [] } });
  const stacks = () => app.node.findAll().filter((construct) => Stack.isStack(construct));
  const build = variants[name];
  if (name === 'the payments stack') new PaymentsStack(app, 'Payments');
  else if (name === 'a stage') buildAll(new Stack(new Stage(app, 'Production', { env }), 'Shop', { env }));
  else if (build) build(new Stack(app, 'Shop', { env }));
  else throw new Error(`there is no variant '${name}'`);
  return { app, stacks };
}

function buildAll(stack: Stack): void {
  const queue = createConsumed(stack);
  const { table } = queue.consumer as IdempotentFunction;
  new OutboxPipe(stack, 'Outbox', { table: table as IdempotencyTable, queue, destination: 'ledger' });
  new FifoIngest(stack, 'Ingest', { queue, path, authorizer: jwt(), messageGroupId });
}

export const variantNames: readonly string[] = [...Object.keys(variants), 'a stage', 'the payments stack'];
