import { execFile } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import { App } from 'aws-cdk-lib';
import { Match, Template } from 'aws-cdk-lib/assertions';
import { AwsSolutionsChecks } from 'cdk-nag';
import { beforeAll, describe, expect, it } from 'vitest';
import { PaymentsStack } from '../../bin/payments-stack.ts';
import { tableLayout } from '../../lib/record.ts';

const run = promisify(execFile);
const root = fileURLToPath(new URL('../..', import.meta.url));
const { context } = JSON.parse(readFileSync(join(root, 'cdk.json'), 'utf8'));

/** Under `cdk.json`'s own context, but without bundling. */
function createStack(): { app: App; stack: PaymentsStack } {
  const app = new App({ context: { ...context, 'aws:cdk:bundling-stacks': [] } });
  return { app, stack: new PaymentsStack(app, 'Payments') };
}

describe('the payments stack', () => {
  const { app, stack } = createStack();
  const template = Template.fromStack(stack);

  it('keeps the logical ids of what holds data', () => {
    // Another id is another table: every record, and every message, would be lost.
    const ids = ['AWS::DynamoDB::GlobalTable', 'AWS::SQS::Queue'].map((type) =>
      Object.keys(template.findResources(type)).sort(),
    );
    expect(ids).toEqual([
      ['IdempotencyTable48612DF4', 'Shop563325D0'],
      ['LedgerDeadLetterQueue8A21884B', 'LedgerOutboxDeadLetterQueue3726E420', 'LedgerQueue1C2C8303'],
    ]);
  });

  it("satisfies cdk-nag's AWS Solutions rules", () => {
    expect(
      new AwsSolutionsChecks(app)
        .validateScope(app)
        .violations.map(({ ruleName, violatingResources }) => [
          ruleName,
          violatingResources.map(({ resourceLogicalId }) => resourceLogicalId),
        ]),
    ).toEqual([]);
  });

  it('satisfies the same rules with its table, which cdk-nag does not know', () => {
    template.hasResource('AWS::DynamoDB::GlobalTable', {
      DeletionPolicy: 'Retain',
      Properties: {
        BillingMode: 'PAY_PER_REQUEST',
        TimeToLiveSpecification: { AttributeName: tableLayout.ttlAttribute, Enabled: true },
        StreamSpecification: { StreamViewType: 'NEW_AND_OLD_IMAGES' },
        Replicas: [
          Match.objectLike({
            PointInTimeRecoverySpecification: { PointInTimeRecoveryEnabled: true },
            DeletionProtectionEnabled: true,
          }),
        ],
      },
    });
  });

  it('lets nobody but signed callers pay', () => {
    const routes = Object.values(template.findResources('AWS::ApiGatewayV2::Route')).map(
      ({ Properties }) => `${Properties.RouteKey} ${Properties.AuthorizationType}`,
    );
    expect(routes.sort()).toEqual([
      'OPTIONS /payments NONE',
      'POST /payments AWS_IAM',
      'POST /statements AWS_IAM',
    ]);
  });

  it('outputs its address', () => {
    template.hasOutput('Url', { Value: { 'Fn::GetAtt': [Match.stringLikeRegexp('^Api'), 'ApiEndpoint'] } });
  });
});

interface SynthesizedFunction {
  readonly Type: string;
  readonly Properties: { readonly Handler: string };
  readonly Metadata: { readonly 'aws:asset:path': string };
}

describe('cdk synth', () => {
  // Inside the repository, so that the bundles find the AWS SDK, which Lambda brings.
  const output = join(root, '.cache', 'cdk.out');
  let template: { Resources: Record<string, SynthesizedFunction> };
  let report: string;

  beforeAll(async () => {
    await rm(output, { recursive: true, force: true });
    await mkdir(output, { recursive: true });
    const { stdout, stderr } = await run('npx', ['cdk', 'synth', '--quiet', '--output', output], {
      cwd: root,
      env: {
        PATH: process.env.PATH,
        HOME: output,
        // Nothing listens there: whatever wants the network fails.
        HTTPS_PROXY: 'http://127.0.0.1:9',
        HTTP_PROXY: 'http://127.0.0.1:9',
        AWS_EC2_METADATA_DISABLED: 'true',
        CI: 'true',
      },
    });
    report = stdout + stderr;
    template = JSON.parse(readFileSync(join(output, 'Payments.template.json'), 'utf8'));
  }, 180_000);

  it('needs no network and no credentials, and prints no warning', () => {
    expect(report).not.toMatch(/^\s*(?:\[?error|\[?warning)/im);
    expect(Object.keys(template.Resources).length).toBeGreaterThan(30);
  });

  it('bundles every function as an ES module that loads, with its source map', async () => {
    const functions = Object.values(template.Resources).filter(
      ({ Type }) => Type === 'AWS::Lambda::Function',
    );
    expect(functions.length).toBeGreaterThan(0);
    process.env.IDEMPOTENCY_TABLE ??= 'records';
    for (const { Properties, Metadata } of functions) {
      const folder = join(output, Metadata['aws:asset:path']);
      expect(readdirSync(folder).sort()).toEqual(['index.mjs', 'index.mjs.map']);
      const loaded = await import(pathToFileURL(join(folder, 'index.mjs')).href);
      expect(loaded[Properties.Handler.replace('index.', '')]).toBeTypeOf('function');
    }
  });
});
