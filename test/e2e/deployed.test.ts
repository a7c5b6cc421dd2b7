import { randomUUID } from 'node:crypto';
import { ScanCommand } from '@aws-sdk/client-dynamodb';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { claimSortKey } from '../../lib/record.ts';
import type { Statement } from '../../local/aws/iam.ts';
import {
  type Deployed,
  type Synthesized,
  startDeployedStack,
  synthesize,
} from '../../local/demo/deployed.ts';
import { startPaymentProvider } from '../../local/demo/payment-provider.ts';
import type { Properties, Template } from '../../local/template/reader.ts';
import { dynamodbEndpoint } from '../support/dynamodb.ts';
import { ShopStack } from './deployed-app.ts';
import { type Book, openBook, travel, useGuard, warmUp } from './deployed-journey.ts';

/** The app of `deployed-app.ts`, synthesised once; each test runs it, as it is or with one thing in the template changed. */
let shop: Synthesized;
const bookUrl = 'http://book.example.com';

beforeAll(async () => {
  shop = await synthesize((app) => new ShopStack(app, 'Shop', bookUrl));
}, 120_000);
afterAll(() => shop?.remove());

/** With a book of its own, where there is one. */
const start = (
  template: Template,
  book?: Book,
  callers: 'anyone' | 'refused' = 'anyone',
): Promise<Deployed> =>
  startDeployedStack({
    assembly: {
      ...shop.assembly,
      template: JSON.parse(JSON.stringify(template).replaceAll(bookUrl, book?.url ?? bookUrl)),
    },
    stackName: `Shop-${randomUUID().slice(0, 8)}`,
    callers,
    retryAfterSeconds: 0,
    dynamodbEndpoint: dynamodbEndpoint(),
  });

/** A resource by its path in the app: `Order/Function`. */
function at(template: Template, path: string): Properties {
  const found = Object.values(template.Resources).find(
    ({ Metadata }) => Metadata?.['aws:cdk:path']?.replace(/\/Resource$/, '') === `Shop/${path}`,
  );
  if (found?.Properties === undefined) throw new Error(`There is no ${path} in the template.`);
  return found.Properties;
}

function remove(template: Template, path: string): void {
  const found = Object.entries(template.Resources).filter(
    ([, { Metadata }]) => Metadata?.['aws:cdk:path']?.replace(/\/Resource$/, '') === `Shop/${path}`,
  );
  if (found.length !== 1) throw new Error(`There is no ${path} in the template.`);
  for (const [id] of found) delete template.Resources[id];
}

/** Takes the statements with this action out of a policy. */
function forbid(template: Template, policyPath: string, action: string): void {
  const { PolicyDocument } = at(template, policyPath);
  const statements: { Action: string | string[] }[] = PolicyDocument.Statement;
  const kept = statements.filter(({ Action }) => ![Action].flat().includes(action));
  expect(kept.length).toBeLessThan(statements.length);
  PolicyDocument.Statement = kept;
}

/** What went wrong on the way, in the journey and in what the stack says about it. */
async function problemsAfter(change: (template: Template) => void): Promise<string> {
  const template = structuredClone(shop.assembly.template);
  change(template);
  const book = await openBook();
  let deployed: Deployed | undefined;
  try {
    deployed = await start(template, book);
    await travel(deployed, book);
    return '';
  } catch (error) {
    const refusals =
      deployed?.stack.faults.requests.map(({ response }) => response?.Message ?? response?.message ?? '') ??
      [];
    const logs = deployed?.stack.logs.map(({ text }) => text) ?? [];
    const { message } = error as Error;
    return [message, JSON.stringify((error as { actual?: unknown }).actual), ...refusals, ...logs].join('\n');
  } finally {
    await deployed?.stop();
    await book.stop();
  }
}

describe('the deployed app', () => {
  let book: Book;
  let deployed: Deployed;
  beforeAll(async () => {
    book = await openBook();
    deployed = await start(shop.assembly.template, book);
  }, 60_000);
  afterAll(async () => {
    await deployed?.stop();
    await book?.stop();
  });

  test('does on this machine all that its journey asks of it', () => travel(deployed, book), 60_000);

  test('guards its functions', async () => {
    for (const [name, path] of [
      ['Receipt', '/receipts'],
      ['Order', '/orders'],
    ] as const) {
      await warmUp(deployed, name, path);
      await useGuard(deployed, path);
    }
  }, 60_000);

  test('is allowed exactly what it does', () => {
    const { exercised } = deployed.stack;
    const isExercised = (role: string, action: string, resource: string) =>
      exercised.some((call) => call.role === role && call.action === action && call.resource === resource);
    const unused = Object.entries(deployed.described.description.roles ?? {}).flatMap(
      ([role, { statements }]) =>
        statements.flatMap(({ actions, resources }) =>
          actions
            .filter((action) => !/^(?:logs|xray):/.test(action))
            .flatMap((action) =>
              resources
                .filter((resource) => !isExercised(role, action, resource))
                .map(() => `${role} ${action}`),
            ),
        ),
    );
    const { Records = '' } = deployed.names.tables;
    const prefix = Records.replace('Records', '');
    expect(unused.map((text) => text.replace(prefix, '')).sort()).toEqual(
      [
        // One set for all guards: nobody waits for a message, and its answer is short.
        'Enter-Role dynamodb:GetItem',
        'Enter-Role dynamodb:Query',
        // The CDK's own grants for consumers and for readers of streams.
        'Enter-Role sqs:ChangeMessageVisibility',
        'Enter-Role sqs:GetQueueUrl',
        'Relay-ServiceRole dynamodb:ListStreams',
        // Pipes asks for it, says AWS.
        'LedgerOutbox-Role dynamodb:ListStreams',
        // No message of the journey is a dead letter.
        'LedgerOutbox-Role sqs:SendMessage',
      ].sort(),
    );
  });

  describe.each([
    ['Receipt-Role', '/receipts', 4],
    ['Order-Role', '/orders', 9],
  ])('without a single action of %s', (name, path, count) => {
    test('its guard fails', async () => {
      const roles = deployed.described.description.roles ?? {};
      const role = Object.keys(roles).find((key) => key.endsWith(name)) ?? '';
      const { statements, trusts } = roles[role] ?? { statements: [], trusts: [] };
      const actions = statements.flatMap((statement, index) =>
        statement.actions
          .filter((action) => action.startsWith('dynamodb:'))
          .map((action) => ({ action, index })),
      );
      expect(actions).toHaveLength(count);
      for (const { action, index } of actions) {
        const without = (statement: Statement, at: number): Statement =>
          at === index
            ? { ...statement, actions: statement.actions.filter((one) => one !== action) }
            : statement;
        Object.assign(roles, { [role]: { trusts, statements: statements.map(without) } });
        await expect(useGuard(deployed, path), `without ${action}`).rejects.toThrow();
      }
      Object.assign(roles, { [role]: { trusts, statements } });
      await useGuard(deployed, path);
    }, 120_000);
  });
});

test('a route that wants signed requests refuses others', async () => {
  const deployed = await start(shop.assembly.template, undefined, 'refused');
  try {
    const response = await fetch(`${deployed.stack.url}/orders`, { method: 'POST', body: '{}' });
    expect([response.status, await response.text()]).toEqual([403, '{"message":"Forbidden"}']);
    expect(deployed.stack.requests).toEqual([]);
  } finally {
    await deployed.stop();
  }
}, 60_000);

describe('the journey fails', () => {
  const nothingEntered = /to have a length of 1 but got \+0/;
  const filterOf = (template: Template) => at(template, 'LedgerOutbox/Pipe').SourceParameters.FilterCriteria;
  const targetOf = (template: Template) => at(template, 'LedgerOutbox/Pipe').TargetParameters;
  const variablesOf = (template: Template, path: string) => at(template, path).Environment.Variables;

  // Most of the time they wait, for what does not come.
  test.concurrent.each<[string, (template: Template) => void, RegExp]>([
    [
      'when a function may not use its table',
      (template) => forbid(template, 'Order/Role/DefaultPolicy', 'dynamodb:PutItem'),
      /is not authorized to perform: dynamodb:UpdateItem .* because no identity-based policy allows/,
    ],
    [
      'when a policy denies',
      (template) => {
        const { PolicyDocument } = at(template, 'Order/Role/DefaultPolicy');
        PolicyDocument.Statement.push({ Effect: 'Deny', Action: 'dynamodb:Put*', Resource: '*' });
      },
      /is not authorized to perform: dynamodb:PutItem .* with an explicit deny/,
    ],
    [
      'when the pipe may not send',
      (template) => forbid(template, 'LedgerOutbox/Role/DefaultPolicy', 'sqs:SendMessage'),
      /is not authorized to perform: sqs:SendMessage/,
    ],
    [
      'when the pipe may not read',
      (template) => forbid(template, 'LedgerOutbox/Role/DefaultPolicy', 'dynamodb:GetRecords'),
      /does not have permissions to call dynamodb:DescribeStream/,
    ],
    [
      'when the consumer may not receive',
      (template) => forbid(template, 'Enter/Role/DefaultPolicy', 'sqs:ReceiveMessage'),
      /does not have permissions to call sqs:ReceiveMessage/,
    ],
    [
      'when the relay may not send',
      (template) => forbid(template, 'Relay/ServiceRole/DefaultPolicy', 'sqs:SendMessage'),
      /is not authorized to perform: sqs:SendMessage/,
    ],
    [
      'when API Gateway may not send',
      (template) => remove(template, 'Ingest/Sender/DefaultPolicy'),
      /expected 400 to be 200/,
    ],
    [
      'when a role does not trust Lambda',
      (template) => {
        const [statement] = at(template, 'Order/Role').AssumeRolePolicyDocument.Statement;
        statement.Principal.Service = 'edgelambda.amazonaws.com';
      },
      /cannot be assumed by lambda.amazonaws.com/,
    ],
    [
      'when TTL looks at another attribute',
      (template) => {
        at(template, 'Records/Table').TimeToLiveSpecification.AttributeName = 'endsAt';
      },
      /items without an end/,
    ],
    [
      'when the sort key has another name',
      (template) => {
        const { KeySchema, AttributeDefinitions } = at(template, 'Records/Table');
        KeySchema[1].AttributeName = 'sort';
        AttributeDefinitions[1].AttributeName = 'sort';
      },
      /required keys|missing the key/i,
    ],
    [
      'when the stream has no images',
      (template) => {
        at(template, 'Records/Table').StreamSpecification.StreamViewType = 'KEYS_ONLY';
      },
      nothingEntered,
    ],
    [
      'when failed messages are not reported',
      (template) => {
        const path = Object.values(template.Resources).find(
          ({ Type, Properties }) =>
            Type === 'AWS::Lambda::EventSourceMapping' && !Properties?.StartingPosition,
        );
        delete path?.Properties?.FunctionResponseTypes;
      },
      nothingEntered,
    ],
    [
      'when a queue is not FIFO',
      (template) => {
        delete at(template, 'Ledger/Queue').FifoQueue;
        delete at(template, 'Ledger/DeadLetterQueue').FifoQueue;
      },
      /the entry/,
    ],
    [
      'when the pipe deduplicates by something else',
      (template) => {
        targetOf(template).SqsQueueParameters.MessageDeduplicationId = '$.eventID';
      },
      /the entry/,
    ],
    [
      'when the pipe looks for an id where there is none',
      (template) => {
        targetOf(template).SqsQueueParameters.MessageGroupId = '$.dynamodb.NewImage.group.S';
      },
      /There is nothing at \$\.dynamodb\.NewImage\.group\.S/,
    ],
    [
      'when the pipe sends something else',
      (template) => {
        targetOf(template).InputTemplate = '<$.dynamodb.NewImage.groupId.S>';
      },
      nothingEntered,
    ],
    [
      "when the pipe's filter names another destination",
      (template) => {
        const [filter] = filterOf(template).Filters;
        filter.Pattern = filter.Pattern.replace('ledger', 'lodger');
      },
      nothingEntered,
    ],
    [
      'when the pipe has no filter',
      (template) => {
        filterOf(template).Filters = [];
      },
      /There is nothing at/,
    ],
    [
      'when API Gateway may not invoke a function',
      (template) => remove(template, 'Api/POST--orders/OrderIntegration-Permission'),
      /no permission lets API Gateway invoke/,
    ],
    ['when there is no stage', (template) => remove(template, 'Api/DefaultStage'), /404/],
    [
      'when a function has the name of another table',
      (template) => {
        variablesOf(template, 'Order/Function').IDEMPOTENCY_TABLE = 'Records';
      },
      /not authorized to perform: dynamodb:UpdateItem on resource: .*:table\/Records /,
    ],
    [
      'when a function does not know a destination',
      (template) => {
        variablesOf(template, 'Order/Function').IDEMPOTENCY_DESTINATIONS = 'mail';
      },
      /goes to a name that is none of the destinations/,
    ],
    [
      'when a handler is not exported',
      (template) => {
        at(template, 'Order/Function').Handler = 'index.handler';
      },
      /has no function 'handler'/,
    ],
    [
      'when a route takes its key from another header',
      (template) => {
        const integration = Object.values(template.Resources).find(
          ({ Properties }) => Properties?.IntegrationSubtype === 'SQS-SendMessage',
        );
        if (integration?.Properties) {
          integration.Properties.RequestParameters.MessageDeduplicationId = '$request.header.X-Request-Id';
        }
      },
      /expected 400 to be 200/,
    ],
  ])(
    '%s',
    async (_, change, problem) => {
      expect(await problemsAfter(change)).toMatch(problem);
    },
    120_000,
  );
});

describe('the app of cdk.json', () => {
  test('charges once, and hands staged messages to its ledger', async () => {
    const provider = await startPaymentProvider();
    let deployed: Deployed | undefined;
    try {
      deployed = await startDeployedStack({
        props: { paymentsUrl: provider.url },
        stackName: `Payments-${randomUUID().slice(0, 8)}`,
        callers: 'anyone',
        dynamodbEndpoint: dynamodbEndpoint(),
      });
      const { stack, names } = deployed;
      const pay = async () => {
        const response = await fetch(`${stack.url}/payments`, {
          method: 'POST',
          headers: { 'content-type': 'application/json', 'idempotency-key': 'my-key' },
          body: JSON.stringify({ customer: 'ada', amount: 4_200, currency: 'EUR' }),
        });
        return { status: response.status, body: await response.text() };
      };
      const first = await pay();
      expect(first.status).toBe(201);
      expect(await pay()).toEqual(first);
      expect(provider.charges).toHaveLength(1);
      expect(stack.upstreamFaults('payments').requests).toHaveLength(1);

      const TableName = names.tables.Idempotency;
      const entered = async () => {
        const { Items = [] } = await stack.dynamodb.send(
          new ScanCommand({ TableName, ConsistentRead: true }),
        );
        return Items.filter(
          ({ pk, sk, status }) =>
            pk?.S?.startsWith('ledger#') && sk?.S === claimSortKey && status?.S === 'COMPLETED',
        ).length;
      };
      await expect.poll(entered, { timeout: 15_000 }).toBe(1);
    } finally {
      await deployed?.stop();
      await provider.stop();
    }
  }, 120_000);
});
