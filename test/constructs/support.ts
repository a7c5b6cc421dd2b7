import { App, Duration, Stack } from 'aws-cdk-lib';
import type { Template } from 'aws-cdk-lib/assertions';
import { Code, Function as LambdaFunction, Runtime } from 'aws-cdk-lib/aws-lambda';

/** An app of one stack. Functions are not bundled: what is tested here is not their code. */
export function createStack(): Stack {
  return new Stack(new App({ context: { 'aws:cdk:bundling-stacks': [] } }), 'Test', {
    env: { account: '111122223333', region: 'eu-west-1' },
  });
}

export function createFunction(stack: Stack, id: string, timeout = Duration.seconds(3)): LambdaFunction {
  return new LambdaFunction(stack, id, {
    runtime: Runtime.NODEJS_24_X,
    handler: 'index.handler',
    code: Code.fromInline('exports.handler = async () => {}'),
    timeout,
  });
}

/** Every action that the template's policies allow on a resource; each policy of the template is looked at. */
export function actionsOn(template: Template, arn: unknown): string[] {
  return statementsOf(template)
    .filter(({ Resource }) =>
      listOf(Resource).some((resource) => JSON.stringify(resource) === JSON.stringify(arn)),
    )
    .flatMap(({ Action }) => listOf(Action) as string[]);
}

export interface Statement {
  readonly Action: string | readonly string[];
  readonly Resource: unknown;
  readonly Condition?: unknown;
}

export function statementsOf(template: Template): Statement[] {
  return Object.values(template.findResources('AWS::IAM::Policy')).flatMap(
    ({ Properties }) => Properties.PolicyDocument.Statement,
  );
}

/** The environment of the only function whose logical id begins so. */
export function variablesOf(template: Template, id: string): Record<string, unknown> {
  const found = Object.entries(template.findResources('AWS::Lambda::Function')).filter(([name]) =>
    name.startsWith(id),
  );
  if (found.length !== 1) throw new Error(`${found.length} functions begin with '${id}'`);
  return found[0]?.[1].Properties.Environment.Variables;
}

const listOf = (value: unknown): readonly unknown[] => (Array.isArray(value) ? value : [value]);
