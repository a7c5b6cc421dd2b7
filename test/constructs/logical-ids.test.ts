import { join } from 'node:path';
import { App, Stack, type StackProps, Stage } from 'aws-cdk-lib';
import { Template } from 'aws-cdk-lib/assertions';
import type { Construct } from 'constructs';
import { describe, expect, it } from 'vitest';
import { IdempotencyTable, IdempotentFunction, IdempotentQueue } from '../../constructs/index.ts';
import { isStateful } from './cloudformation.ts';
import { variablesOf } from './support.ts';
import { createVariant, variantNames } from './variants.ts';

const entry = join(import.meta.dirname, '../../examples/payments.ts');

/** What others know by its name, its ARN or its address, so that another logical id would be another one. */
const addressed = [
  'AWS::ApiGateway::Account',
  'AWS::ApiGateway::RestApi',
  'AWS::ApiGateway::Stage',
  'AWS::ApiGatewayV2::Api',
  'AWS::ApiGatewayV2::Stage',
  'AWS::CloudWatch::Dashboard',
  'AWS::IAM::Role',
  'AWS::Lambda::Alias',
  'AWS::Lambda::EventSourceMapping',
  'AWS::Lambda::Function',
  'AWS::Pipes::Pipe',
];

/** What there can be only one of: the new one meets the old one, or is deleted with it. */
const single = [
  'AWS::ApiGateway::Method',
  'AWS::ApiGateway::Resource',
  'AWS::ApiGatewayV2::Route',
  'AWS::SNS::Subscription',
  'AWS::SQS::QueuePolicy',
];

const pinned = new Set([...addressed, ...single]);

/**
 * An id that changes is a resource that CloudFormation makes anew and then deletes: records and messages are lost, a pipe starts at the stream's beginning, an API
 * has another address. Change a snapshot only together with a line in the changelog that says what is lost.
 */
describe('the logical ids of what holds data or has an address', () => {
  it.each(variantNames)('stay as they are: %s', (name) => {
    const ids = createVariant(name)
      .stacks()
      .flatMap((stack) =>
        Object.entries(Template.fromStack(stack).toJSON().Resources as Record<string, { Type: string }>)
          .filter(([, { Type }]) => pinned.has(Type) || isStateful(Type))
          .map(([id, { Type }]) => `${stack.stackName}: ${Type} ${id}`),
      );
    expect(ids.length).toBeGreaterThan(0);
    expect(ids.sort().join('\n')).toMatchSnapshot();
  });
});

describe('a stack that is moved under a Stage', () => {
  /** Variables of the function `Orders`, and the logical id of what connects it with its queue. */
  function create(scope: (app: App) => Construct, props: StackProps = {}, namespace?: string) {
    const app = new App({ context: { 'aws:cdk:bundling-stacks': [] } });
    const stack = new Stack(scope(app), 'Shop', props);
    const consumer = new IdempotentFunction(stack, 'Orders', {
      entry,
      table: new IdempotencyTable(stack, 'Idempotency'),
      ...(namespace !== undefined && { namespace }),
    });
    new IdempotentQueue(stack, 'Ledger', { consumer });
    const template = Template.fromStack(stack);
    const ids = (type: string) => Object.keys(template.findResources(type)).sort();
    return {
      name: stack.stackName,
      namespace: variablesOf(template, 'Orders').IDEMPOTENCY_NAMESPACE,
      tables: ids('AWS::DynamoDB::GlobalTable'),
      queues: ids('AWS::SQS::Queue'),
      mappings: ids('AWS::Lambda::EventSourceMapping'),
    };
  }
  const inApp = (app: App) => app;
  const inStage = (app: App) => new Stage(app, 'Production');

  it('is another stack, whose functions have other namespaces', () => {
    const [before, after] = [create(inApp), create(inStage)];
    expect(before).toMatchObject({ name: 'Shop', namespace: 'Shop/Orders' });
    expect(after).toMatchObject({ name: 'Production-Shop', namespace: 'Production/Shop/Orders' });
  });

  it('is the same stack and knows its operations where it keeps its name and its namespaces', () => {
    const before = create(inApp);
    const after = create(inStage, { stackName: 'Shop' }, 'Shop/Orders');
    const { mappings: _, ...kept } = before;
    expect(after).toMatchObject(kept);
  });

  it('has another event source mapping, whose id the CDK makes of the path of the queue', () => {
    // Once the ids are alike, the advice in the docs is out of date.
    const after = create(inStage, { stackName: 'Shop' }, 'Shop/Orders');
    expect(after.mappings).not.toEqual(create(inApp).mappings);
  });
});
