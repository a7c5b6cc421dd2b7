import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Template } from 'aws-cdk-lib/assertions';
import { AwsSolutionsChecks } from 'cdk-nag';
import { describe, expect, it } from 'vitest';
import { type CloudFormationTemplate, problemsOf } from './cloudformation.ts';
import { createVariant, variantNames } from './variants.ts';

function templatesOf(name: string): { readonly stack: string; readonly template: CloudFormationTemplate }[] {
  return createVariant(name)
    .stacks()
    .map((stack) => ({
      stack: stack.stackName,
      template: Template.fromStack(stack).toJSON() as CloudFormationTemplate,
    }));
}

describe("CloudFormation's schemas", () => {
  it.each(variantNames)('allow the template of %s', (name) => {
    expect(templatesOf(name).flatMap(({ template }) => problemsOf(template))).toEqual([]);
  });

  const queue = { Type: 'AWS::SQS::Queue', Properties: { FifoQueue: true } };
  it.each<[string, CloudFormationTemplate['Resources'][string], string]>([
    ['an unknown type', { Type: 'AWS::SQS::Line' }, 'X: there is no AWS::SQS::Line'],
    ['an unknown property', { Type: 'AWS::SQS::Queue', Properties: { Fifo: true } }, 'there is no X.Fifo'],
    ['a missing property', { Type: 'AWS::IAM::Role' }, 'X.AssumeRolePolicyDocument is missing'],
    [
      'a property of a nested object',
      {
        Type: 'AWS::DynamoDB::GlobalTable',
        Properties: { KeySchema: [], Replicas: [{ Region: 'eu-west-1', TableClass: 1 }] },
      },
      'X.Replicas[0].TableClass is 1, no string',
    ],
    [
      'a value of another type',
      { Type: 'AWS::SQS::Queue', Properties: { VisibilityTimeout: '30' } },
      'X.VisibilityTimeout is "30", no integer',
    ],
    [
      'a value that is none of those that are allowed',
      { Type: 'AWS::Logs::LogGroup', Properties: { RetentionInDays: 31 } },
      'X.RetentionInDays is 31, none of 1, 3',
    ],
    [
      'a reference to nothing',
      { Type: 'AWS::SQS::Queue', Properties: { QueueName: { Ref: 'Y' } } },
      "X refers to 'Y', which is not there",
    ],
    [
      'an attribute that there is not',
      { Type: 'AWS::SQS::Queue', Properties: { RedrivePolicy: { arn: { 'Fn::GetAtt': ['Q', 'Stream'] } } } },
      "X refers to Stream of 'Q', and AWS::SQS::Queue has no such attribute",
    ],
  ])('refuse %s', (_, resource, problem) => {
    const problems = problemsOf({ Resources: { X: resource, Q: queue } });
    expect(problems).toContainEqual(expect.stringContaining(problem));
    expect(problemsOf({ Resources: { Q: queue } })).toEqual([]);
  });
});

/** What cdk-nag finds in what the constructs make, and why it is meant. An app that uses them has to acknowledge these. */
const meant: Readonly<Record<string, RegExp>> = {
  // X-Ray's actions, and those on network interfaces, are for no resource in particular.
  'AwsSolutions-IAM5[Resource::*]': /\/(?:Orders\/)?Role\/DefaultPolicy\/Resource$/,
  // A pipe's, a rule's and a stream's dead-letter queues are dead-letter queues, which cdk-nag looks for at queues only.
  'AwsSolutions-SQS3':
    /\/(?:Outbox\/DeadLetterQueue|(?:Sales|Topic)\/Discarded|Ledger\/UndeliveredEvents)\/Resource$/,
  // The CDK's role with which API Gateway writes logs, where you ask for it.
  'AwsSolutions-IAM4[Policy::arn:<AWS::Partition>:iam::aws:policy/service-role/AmazonAPIGatewayPushToCloudWatchLogs]':
    /\/Ingest\/Api\/CloudWatchRole\/Resource$/,
  // The CDK's own choice for a topic: network interfaces, and the cluster's description.
  'AwsSolutions-IAM4[Policy::arn:<AWS::Partition>:iam::aws:policy/service-role/AWSLambdaMSKExecutionRole]':
    /\/Orders\/Role\/Resource$/,
  // The body is yours: only the headers can be demanded here.
  'AwsSolutions-APIG2': /\/Ingest\/Api\/Resource$/,
  // A firewall costs more than the route: yours to decide.
  'AwsSolutions-APIG3': /\/Ingest\/Api\/DeploymentStage.prod\/Resource$/,
  // Access logs say who came. Execution logs would say what was sent, too.
  'AwsSolutions-APIG6': /\/Ingest\/Api\/DeploymentStage.prod\/Resource$/,
  // Signed requests need no user pool.
  'AwsSolutions-COG4':
    /\/Ingest\/Api\/Default\/orders\/POST\/Resource$|\/RestApi\/Default\/orders\/POST\/Resource$/,
  // The imported API's route of this test lets everybody in.
  'AwsSolutions-APIG4': /\/Ingest\/Route\/Resource$/,
};

/** What the variants bring along beside the constructs. */
const theirs = /^Shop\/(?:Vpc|Users|Api|Topic|Orders\/ServiceRole)\//;

describe("cdk-nag's AWS Solutions rules", () => {
  const findingsIn = (name: string) => {
    const { app } = createVariant(name);
    return new AwsSolutionsChecks(app)
      .validateScope(app)
      .violations.flatMap(({ ruleName, violatingResources }) =>
        violatingResources.map(({ constructPath = '' }) => ({ ruleName, constructPath })),
      )
      .filter(({ constructPath }) => !theirs.test(constructPath));
  };

  it.each(variantNames)('find nothing in %s but what is suppressed', (name) => {
    const found = findingsIn(name).filter(
      ({ ruleName, constructPath }) => !meant[ruleName]?.test(constructPath),
    );
    expect(found).toEqual([]);
  });

  it('find everything that is suppressed', () => {
    const found = new Set(variantNames.flatMap(findingsIn).map(({ ruleName }) => ruleName));
    expect([...found].sort()).toEqual(Object.keys(meant).sort());
  });
});

// A tool of Python's: npm cannot bring it, and the schemas above say most of what it says.
if (spawnSync('cfn-lint', ['--version']).status === 0) {
  describe('cfn-lint', () => {
    it('finds nothing in any template', { timeout: 180_000 }, () => {
      const folder = join(import.meta.dirname, '../../.cache/templates');
      rmSync(folder, { recursive: true, force: true });
      mkdirSync(folder, { recursive: true });
      const files = variantNames.flatMap((name) =>
        templatesOf(name).map(({ stack, template }) => {
          const file = join(folder, `${name} ${stack}.json`.replaceAll(/[ ,]+/g, '-'));
          writeFileSync(file, JSON.stringify(template));
          return file;
        }),
      );
      // The CDK writes dependencies twice (W3005), and names zones for a VPC that nobody has looked up (W3010).
      const ignored = ['--ignore-checks', 'W3005', 'W3010'];
      const options = ['--format', 'parseable', '--regions', 'eu-west-1', ...ignored];
      // It fails with what it found on its standard output.
      expect(execFileSync('cfn-lint', [...options, '--', ...files], { encoding: 'utf8' })).toBe('');
    });
  });
}
