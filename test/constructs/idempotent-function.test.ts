import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { App, Duration, Stack } from 'aws-cdk-lib';
import { Annotations, Match, Template } from 'aws-cdk-lib/assertions';
import { LambdaIntegration, RestApi } from 'aws-cdk-lib/aws-apigateway';
import { HttpApi } from 'aws-cdk-lib/aws-apigatewayv2';
import { HttpLambdaIntegration } from 'aws-cdk-lib/aws-apigatewayv2-integrations';
import { AttributeType, StreamViewType, TableV2 } from 'aws-cdk-lib/aws-dynamodb';
import { Role, ServicePrincipal } from 'aws-cdk-lib/aws-iam';
import { Stream } from 'aws-cdk-lib/aws-kinesis';
import { Architecture, type IEventSource, Runtime, StartingPosition } from 'aws-cdk-lib/aws-lambda';
import { DynamoEventSource, KinesisEventSource, SqsEventSource } from 'aws-cdk-lib/aws-lambda-event-sources';
import { LogGroup, RetentionDays } from 'aws-cdk-lib/aws-logs';
import { Queue } from 'aws-cdk-lib/aws-sqs';
import { describe, expect, it } from 'vitest';
import {
  IdempotencyTable,
  IdempotentFunction,
  type IdempotentFunctionProps,
} from '../../constructs/index.ts';
import { actionsOn, createStack, statementsOf, variablesOf } from './support.ts';

const entry = join(import.meta.dirname, '../../examples/payments.ts');

function create(props: Partial<IdempotentFunctionProps> = {}) {
  const stack = createStack();
  const table = new IdempotencyTable(stack, 'Idempotency');
  const fn = new IdempotentFunction(stack, 'Payments', { entry, table, ...props });
  return { stack, table, fn };
}

describe('a function', () => {
  it('runs on Node 24 and arm64, traced, with a log group whose entries end', () => {
    const { stack, fn } = create();
    const template = Template.fromStack(stack);
    template.hasResourceProperties('AWS::Lambda::Function', {
      Runtime: 'nodejs24.x',
      Architectures: ['arm64'],
      Timeout: 10,
      MemorySize: 512,
      TracingConfig: { Mode: 'Active' },
      LoggingConfig: { LogGroup: Match.anyValue() },
    });
    template.hasResourceProperties('AWS::Logs::LogGroup', { RetentionInDays: 30 });
    expect(fn.namespace).toBe('Test/Payments');
  });

  it('knows its table and may use it as a guard does', () => {
    const { stack, table } = create();
    const template = Template.fromStack(stack);
    expect(variablesOf(template, 'Payments')).toEqual({
      NODE_OPTIONS: '--enable-source-maps',
      IDEMPOTENCY_TABLE: stack.resolve(table.tableName),
      IDEMPOTENCY_NAMESPACE: 'Test/Payments',
      IDEMPOTENCY_TTL_SECONDS: '86400',
    });
    expect(actionsOn(template, stack.resolve(table.tableArn))).not.toContain('dynamodb:ConditionCheckItem');
  });

  it('may write its own log, send traces and do nothing else', () => {
    const { stack, fn } = create();
    const template = Template.fromStack(stack);
    template.hasResourceProperties('AWS::IAM::Role', { ManagedPolicyArns: Match.absent() });
    const others = statementsOf(template).filter(
      ({ Action }) => !JSON.stringify(Action).includes('dynamodb:'),
    );
    expect(others).toEqual([
      expect.objectContaining({
        Action: ['logs:CreateLogStream', 'logs:PutLogEvents'],
        Resource: stack.resolve(fn.logGroup.logGroupRef.logGroupArn),
      }),
      expect.objectContaining({
        Action: ['xray:PutTraceSegments', 'xray:PutTelemetryRecords'],
        Resource: '*',
      }),
    ]);
  });

  it('takes any property of a NodejsFunction instead', () => {
    const { stack } = create({
      runtime: Runtime.NODEJS_22_X,
      architecture: Architecture.X86_64,
      timeout: Duration.seconds(5),
      memorySize: 1024,
      environment: { NODE_OPTIONS: '--no-warnings', PAYMENTS_URL: 'https://psp.example.com' },
      logRetention: RetentionDays.ONE_YEAR,
      namespace: 'payments',
      ttl: Duration.days(7),
    });
    const template = Template.fromStack(stack);
    template.hasResourceProperties('AWS::Lambda::Function', {
      Runtime: 'nodejs22.x',
      Architectures: ['x86_64'],
      Timeout: 5,
      MemorySize: 1024,
    });
    template.hasResourceProperties('AWS::Logs::LogGroup', { RetentionInDays: 365 });
    expect(variablesOf(template, 'Payments')).toMatchObject({
      NODE_OPTIONS: '--no-warnings',
      PAYMENTS_URL: 'https://psp.example.com',
      IDEMPOTENCY_NAMESPACE: 'payments',
      IDEMPOTENCY_TTL_SECONDS: '604800',
    });
  });

  it('takes a given log group and a given role', () => {
    const stack = createStack();
    const role = new Role(stack, 'Own', { assumedBy: new ServicePrincipal('lambda.amazonaws.com') });
    const logGroup = new LogGroup(stack, 'Logs');
    new IdempotentFunction(stack, 'Payments', {
      entry,
      table: new IdempotencyTable(stack, 'Idempotency'),
      role,
      logGroup,
    });
    const template = Template.fromStack(stack);
    template.resourceCountIs('AWS::Logs::LogGroup', 1);
    template.resourceCountIs('AWS::IAM::Role', 1);
  });

  it.each([
    [Runtime.NODEJS_20_X, 'import rates from "./rates.json";'],
    [Runtime.NODEJS_24_X, 'import rates from "./rates.json" with { type: "json" };'],
  ])('is bundled for the runtime that it has: %s', async (runtime, imported) => {
    // Inside the repository, where esbuild is.
    const folder = join(import.meta.dirname, `../../.cache/bundled-for-${runtime.name}`);
    await rm(folder, { recursive: true, force: true });
    await mkdir(folder, { recursive: true });
    const source = join(folder, 'handler.ts');
    await writeFile(
      source,
      `import rates from './rates.json' with { type: 'json' };\nexport const handler = async () => rates;\n`,
    );
    const app = new App({ outdir: join(folder, 'cdk.out') });
    const stack = new Stack(app, 'Test');
    new IdempotentFunction(stack, 'Payments', {
      entry: source,
      table: new IdempotencyTable(stack, 'Idempotency'),
      runtime,
      bundling: { minify: false, externalModules: ['./rates.json'] },
    });
    const { directory } = app.synth();
    const [bundle = ''] = (await readdir(directory, { recursive: true })).filter((name) =>
      name.endsWith('index.mjs'),
    );
    // Node 20 as it first was knew no import attributes, so that esbuild leaves them out for it.
    expect(await readFile(join(directory, bundle), 'utf8')).toContain(imported);
  });
});

describe('a function that a queue calls', () => {
  const consuming = (queue: object, props: Partial<IdempotentFunctionProps> = {}) => {
    const { stack, fn } = create(props);
    fn.function.addEventSource(new SqsEventSource(new Queue(stack, 'Queue', queue)));
    return stack;
  };

  it('keeps its records for as long as the queue keeps a message', () => {
    const stack = consuming({
      visibilityTimeout: Duration.minutes(1),
      retentionPeriod: Duration.days(7),
    });
    expect(variablesOf(Template.fromStack(stack), 'Payments')).toMatchObject({
      IDEMPOTENCY_TTL_SECONDS: '604800',
    });
  });
});

describe('a function that a stream calls', () => {
  const startingPosition = StartingPosition.TRIM_HORIZON;

  it.each<[string, number, (stack: Stack) => IEventSource]>([
    [
      'DynamoDB',
      86_400,
      (stack) => {
        const partitionKey = { name: 'id', type: AttributeType.STRING };
        const orders = new TableV2(stack, 'Orders', {
          partitionKey,
          dynamoStream: StreamViewType.NEW_IMAGE,
        });
        return new DynamoEventSource(orders, { startingPosition });
      },
    ],
    [
      'Kinesis',
      172_800,
      (stack) =>
        new KinesisEventSource(new Stream(stack, 'Orders', { retentionPeriod: Duration.hours(48) }), {
          startingPosition,
        }),
    ],
  ])('keeps its records for as long as %s keeps its own', (_, seconds, createSource) => {
    const { stack, fn } = create();
    fn.function.addEventSource(createSource(stack));
    expect(variablesOf(Template.fromStack(stack), 'Payments')).toMatchObject({
      IDEMPOTENCY_TTL_SECONDS: String(seconds),
    });

    const short = create({ ttl: Duration.hours(12) });
    short.fn.function.addEventSource(createSource(short.stack));
    Template.fromStack(short.stack);
    Annotations.fromStack(short.stack).hasWarning(
      '/Test/Payments/Function',
      Match.stringLikeRegexp(
        `ttl is 43200 s, shorter than the ${seconds} s for which 'Test/Orders/Resource'`,
      ),
    );
  });
});

describe('a function that an API calls', () => {
  it.each([
    [
      'HTTP API',
      30,
      ({ stack, fn }: ReturnType<typeof create>) => {
        const integration = new HttpLambdaIntegration('Payments', fn.function);
        new HttpApi(stack, 'Api').addRoutes({ path: '/payments', integration });
      },
    ],
    [
      'REST API',
      29,
      ({ stack, fn }: ReturnType<typeof create>) => {
        new RestApi(stack, 'Api').root.addMethod('POST', new LambdaIntegration(fn.function));
      },
    ],
  ])('gets a warning when it outlives the %s', (kind, limitSeconds, connect) => {
    const warnings = (seconds: number) => {
      const created = create({ timeout: Duration.seconds(seconds) });
      connect(created);
      Template.fromStack(created.stack);
      return Annotations.fromStack(created.stack).findWarning(
        '*',
        Match.stringLikeRegexp(
          `the timeout is ${seconds} s, and the ${kind} .* gives up after ${limitSeconds} s`,
        ),
      );
    };
    expect(warnings(limitSeconds)).toHaveLength(0);
    expect(warnings(limitSeconds + 1)).toHaveLength(1);
  });
});
