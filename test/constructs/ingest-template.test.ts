import { Lazy } from 'aws-cdk-lib';
import { Template } from 'aws-cdk-lib/assertions';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { FifoIngest, IdempotentQueue } from '../../constructs/index.ts';
import { startVelocity, type TemplateInput, type VelocityEngine } from '../../local/aws/velocity.ts';
import { createStack } from './support.ts';

let velocity: VelocityEngine;
beforeAll(async () => {
  velocity = await startVelocity();
}, 300_000);
afterAll(() => velocity?.stop());

const sub = '$context.authorizer.claims.sub';
const caller = { 'authorizer.claims.sub': 'ann' };

/** What values look like that are meant to be read as a template, a form or a header. */
const hostile = [
  '#set($key = "stolen")',
  // biome-ignore lint/suspicious/noTemplateCurlyInString: it is Velocity that reads it.
  '$input.body ${context.stage} $!{nothing}',
  '#end #stop #{end} #* comment *# ## line',
  '&MessageGroupId=bob&Action=PurgeQueue',
  'a=b;c%26d+e f',
  '\r\nX-Injected: yes\r\n',
  `'")}]\\"`,
  'Zoë 😀 \u0000 \u2028',
];

function integrationOf(messageGroupId: string, header?: string) {
  const stack = createStack();
  new FifoIngest(stack, 'Ingest', {
    via: 'rest-api',
    queue: new IdempotentQueue(stack, 'Orders'),
    path: '/orders',
    authorizer: 'iam',
    messageGroupId,
    ...(header !== undefined && { header }),
  });
  const [method] = Object.values(Template.fromStack(stack).findResources('AWS::ApiGateway::Method'));
  return method?.Properties;
}

/** The form that reaches SQS. */
async function formOf(input: TemplateInput, messageGroupId = sub, header?: string) {
  const template = integrationOf(messageGroupId, header).Integration.RequestTemplates['application/json'];
  const rendered = await velocity.render(template, { context: caller, ...input });
  if (rendered.kind === 'refused') throw new Error(rendered.message);
  return [...new URLSearchParams(rendered.text)];
}

const form = (body: string, key: string, group: string) => [
  ['Action', 'SendMessage'],
  ['MessageBody', body],
  ['MessageDeduplicationId', key],
  ['MessageGroupId', group],
];

describe('the template of a REST ingest, run in Velocity', () => {
  it.each(['Idempotency-Key', 'idempotency-key', 'IDEMPOTENCY-KEY', 'idempotency-Key'])(
    'takes the key from the header %s',
    async (name) => {
      expect(await formOf({ headers: { Host: 'shop', [name]: 'k-1' }, body: '{"n":1}' })).toEqual(
        form('{"n":1}', 'k-1', 'ann'),
      );
    },
  );

  it.each(hostile)('hands on %j as body, key and group and as nothing else', async (value) => {
    expect(
      await formOf(
        { body: value, headers: { 'Idempotency-Key': value, 'x-customer': value } },
        '$request.header.X-Customer',
      ),
    ).toEqual(form(value, value, value));
    expect(
      await formOf({
        body: value,
        headers: { 'Idempotency-Key': 'k' },
        context: { 'authorizer.claims.sub': value },
      }),
    ).toEqual(form(value, 'k', value));
    expect(
      await formOf(
        { body: value, headers: { 'Idempotency-Key': 'k' }, values: { '$.customer.id': value } },
        '$request.body.customer.id',
      ),
    ).toEqual(form(value, 'k', value));
  });

  it('takes neither the key nor the group from the path or the query', async () => {
    const claimed = { 'Idempotency-Key': 'forged', 'X-Customer': 'bob' };
    const headers = { 'Idempotency-Key': 'k', 'X-Customer': 'ann' };
    const expected = form('', 'k', 'ann');
    expect(await formOf({ query: claimed, headers }, '$request.header.X-Customer')).toEqual(expected);
    expect(await formOf({ pathParameters: claimed, headers }, '$request.header.X-Customer')).toEqual(
      expected,
    );
    expect(await formOf({ query: claimed, headers: {} }, '$request.header.X-Customer')).toEqual(
      form('', ' ', ' '),
    );
  });

  it('sends a space, which SQS refuses, for a header that comes twice', async () => {
    const headers = {
      'X-Customer': 'ann',
      'x-customer': 'bob',
      'Idempotency-Key': 'k',
      'idempotency-key': 'l',
    };
    expect(await formOf({ headers }, '$request.header.X-Customer')).toEqual(form('', ' ', ' '));
    expect(
      await formOf({ headers: { a: 'ann', A: 'ann', 'Idempotency-Key': 'k' } }, '$request.header.a'),
    ).toEqual(form('', 'k', ' '));
  });

  it('never sends the text of the template for what is missing', async () => {
    const headers = { 'Idempotency-Key': 'k' };
    expect(await formOf({ headers, context: {} })).toEqual(form('', 'k', ''));
    expect(await formOf({ headers }, '$request.header.X-Customer')).toEqual(form('', 'k', ' '));
    expect(await formOf({ headers }, '$request.body.customer.id')).toEqual(form('', 'k', ''));
  });

  it('takes a number of the body or a fixed text as the group', async () => {
    const headers = { 'Idempotency-Key': 'k' };
    const values = { '$.customer': 42 };
    expect(await formOf({ headers, values }, '$request.body.customer')).toEqual(form('', 'k', '42'));
    expect(await formOf({ headers }, 'orders:eu-1.a')).toEqual(form('', 'k', 'orders:eu-1.a'));
  });

  it('takes a token as the fixed text', () => {
    const template = integrationOf(Lazy.string({ produce: () => 'orders' })).Integration.RequestTemplates;
    expect(template['application/json']).toContain("#set($group = 'orders')");
  });

  it('reads the header that the options name', async () => {
    const headers = { 'Idempotency-Key': 'other', 'x-request-id': 'mine' };
    expect(await formOf({ headers }, sub, 'X-Request-Id')).toEqual(form('', 'mine', 'ann'));
  });

  it('has API Gateway demand both headers', () => {
    expect(integrationOf('$request.header.X-Customer').RequestParameters).toEqual({
      'method.request.header.Idempotency-Key': true,
      'method.request.header.X-Customer': true,
    });
  });
});

interface IntegrationResponse {
  readonly SelectionPattern?: string;
  readonly StatusCode: string;
  readonly ResponseTemplates: Readonly<Record<'application/json', string>>;
}

describe("the answer that a REST ingest makes of SQS's own, in Velocity", () => {
  const xml = (code: string, message = 'No.') =>
    `<?xml version="1.0"?><ErrorResponse xmlns="http://queue.amazonaws.com/doc/2012-11-05/"><Error><Type>Sender</Type><Code>${code}</Code><Message>${message}</Message><Detail/></Error></ErrorResponse>`;
  const json = (code: string, message = 'No.') =>
    JSON.stringify({ Error: { Code: code, Message: message, Type: 'Sender' }, RequestId: 'r' }, null, 1);

  async function answerTo(status: number, body: string) {
    const responses: IntegrationResponse[] = integrationOf(sub).Integration.IntegrationResponses;
    const matching = responses.filter(({ SelectionPattern }) =>
      new RegExp(`^(?:${SelectionPattern})$`).test(`${status}`),
    );
    const [response = responses.find(({ SelectionPattern }) => SelectionPattern === undefined)] = matching;
    expect(matching.length).toBeLessThanOrEqual(1);
    if (response === undefined) throw new Error(`Nothing answers a status of ${status}.`);
    const rendered = await velocity.render(response.ResponseTemplates['application/json'], { body });
    if (rendered.kind === 'refused') throw new Error(rendered.message);
    return {
      status: rendered.statusOverride ?? Number(response.StatusCode),
      body: JSON.parse(rendered.text),
    };
  }

  it.each([
    [202, 200, ''],
    [400, 400, 'InvalidParameterValue'],
    [400, 400, 'MissingParameter'],
    [400, 400, 'InvalidMessageContents'],
    [429, 403, 'RequestThrottled'],
    [429, 400, 'ThrottlingException'],
    [429, 400, 'KMS.ThrottlingException'],
    [503, 403, 'AccessDenied'],
    [503, 400, 'KMS.AccessDeniedException'],
    [503, 400, 'KMS.DisabledException'],
    [503, 400, 'AWS.SimpleQueueService.NonExistentQueue'],
    [503, 404, 'InvalidAddress'],
    [503, 500, 'InternalFailure'],
    [503, 503, 'ServiceUnavailable'],
  ])('is %i for %i %s, in XML and in JSON', async (expected, status, code) => {
    const answers = [await answerTo(status, xml(code)), await answerTo(status, json(code))];
    expect(answers.map((answer) => answer.status)).toEqual([expected, expected]);
    expect(answers[0]?.body).toEqual(
      {
        202: { accepted: true },
        400: { message: 'The queue refuses this request.' },
        429: { message: 'Too many requests: try again later.' },
        503: { message: 'The queue is not available.' },
      }[expected],
    );
  });

  it('cannot be chosen by the caller, even where SQS repeats what was sent', async () => {
    const claimed = '"Code":"RequestThrottled" <Code>RequestThrottled</Code>';
    const escaped = claimed.replaceAll('<', '&lt;').replaceAll('>', '&gt;');
    expect(await answerTo(400, json('InvalidParameterValue', claimed))).toMatchObject({ status: 400 });
    expect(await answerTo(400, xml('InvalidParameterValue', escaped))).toMatchObject({ status: 400 });
  });

  it('has one of the statuses that the method lists', () => {
    const responses: { StatusCode: string }[] = integrationOf(sub).MethodResponses;
    expect(responses.map(({ StatusCode }) => StatusCode)).toEqual(['202', '400', '429', '503']);
  });
});
