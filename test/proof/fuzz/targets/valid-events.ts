/** Events as services send them. What callers write holds {@link secret}, which no message may show. */
import { createHash } from 'node:crypto';
import type { Input } from '../target.ts';

export const secret = 's3cret';

const body = `{"amount":12345678901234567890,"note":"${secret}"}`;
const base64 = (text: string): string => Buffer.from(text).toString('base64');
const arn = (service: string, name: string): string => `arn:aws:${service}:eu-west-1:123456789012:${name}`;

const headers = {
  'content-type': 'application/json',
  'Idempotency-Key': `"${secret}-1"`,
  authorization: secret,
};
const form = { 'Content-Type': 'application/x-www-form-urlencoded', 'idempotency-key': `${secret}-2` };

const restApi = {
  resource: '/{proxy+}',
  path: '/payments',
  httpMethod: 'POST',
  headers,
  multiValueHeaders: Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, [value]])),
  queryStringParameters: { a: secret, b: '2' },
  multiValueQueryStringParameters: { a: ['1', secret], b: ['2'] },
  requestContext: {
    httpMethod: 'POST',
    identity: { apiKeyId: null, userArn: null, cognitoIdentityId: null },
  },
  body,
  isBase64Encoded: false,
};
const httpApi = {
  version: '2.0',
  rawPath: '/payments',
  rawQueryString: `a=${secret}&b=%C3%A9`,
  headers,
  requestContext: { http: { method: 'POST', path: '/payments' } },
  body: base64(body),
  isBase64Encoded: true,
};
const balancer = {
  requestContext: { elb: { targetGroupArn: arn('elasticloadbalancing', 'targetgroup/a/1') } },
  httpMethod: 'PATCH',
  path: '/payments',
  multiValueHeaders: Object.fromEntries(Object.entries(form).map(([name, value]) => [name, [value]])),
  multiValueQueryStringParameters: { a: ['1'] },
  body: `a=${secret}&b=1`,
  isBase64Encoded: false,
};

const message = (id: string) => ({
  messageId: id,
  receiptHandle: 'receipt',
  body,
  attributes: { ApproximateReceiveCount: '1' },
  messageAttributes: {},
  eventSource: 'aws:sqs',
  eventSourceARN: arn('sqs', 'queue'),
});
const fifoMessage = (id: string, group: string, deduplicationId: string) => ({
  ...message(id),
  attributes: {
    MessageGroupId: group,
    MessageDeduplicationId: deduplicationId,
    SequenceNumber: `18850000000000000${id}`,
  },
  eventSourceARN: arn('sqs', 'queue.fifo'),
});
const kinesis = (sequenceNumber: string) => ({
  eventID: `shardId-000000000006:${sequenceNumber}`,
  eventSource: 'aws:kinesis',
  eventSourceARN: arn('kinesis', 'stream/stream'),
  kinesis: { partitionKey: 'key', sequenceNumber, data: base64(body), approximateArrivalTimestamp: 1.5 },
});
const kafka = (offset: number) => ({
  topic: 'topic',
  partition: 0,
  offset,
  timestamp: 1,
  key: base64('key'),
  value: base64(body),
});
const stream = (id: string) => ({
  eventID: id,
  eventName: 'MODIFY',
  eventSource: 'aws:dynamodb',
  eventSourceARN: arn('dynamodb', 'table/table/stream/2026'),
  dynamodb: {
    Keys: { id: { S: secret } },
    NewImage: { id: { S: secret }, amount: { N: '2' }, tags: { SS: ['a', 'b'] } },
    OldImage: { id: { S: secret }, amount: { N: '1' } },
    SequenceNumber: `1000${id}`,
    StreamViewType: 'NEW_AND_OLD_IMAGES',
  },
});
const object = (sequencer: string) => ({
  eventSource: 'aws:s3',
  eventName: 'ObjectCreated:Put',
  eventTime: '2026-01-01T00:00:00.000Z',
  responseElements: { 'x-amz-request-id': '1' },
  s3: { bucket: { name: 'bucket' }, object: { key: secret, size: 1, eTag: '1', versionId: '1', sequencer } },
});
const notification = {
  EventSource: 'aws:sns',
  EventVersion: '1.0',
  Sns: {
    MessageId: 'n1',
    TopicArn: arn('sns', 'topic'),
    Message: body,
    MessageAttributes: {},
    Type: 'Notification',
  },
};

export const validEvents: readonly Input[] = [
  restApi,
  {
    ...restApi,
    version: '1.0',
    requestContext: { ...restApi.requestContext, authorizer: { claims: null, scopes: null } },
  },
  {
    ...restApi,
    requestContext: {
      ...restApi.requestContext,
      authorizer: { principalId: 'alice', claims: { sub: 'alice' } },
    },
  },
  httpApi,
  { ...httpApi, headers: form, body: `a=${secret}&a=2&b=+%20%zz`, isBase64Encoded: false },
  {
    ...httpApi,
    headers: { ...headers, 'content-type': 'multipart/form-data; boundary="x"' },
    body: `--x\r\n\r\n${secret}\r\n--x--`,
    isBase64Encoded: false,
    requestContext: {
      http: { method: 'POST' },
      authorizer: { jwt: { claims: { sub: 'alice', iss: 'issuer' } } },
    },
  },
  balancer,
  { ...balancer, multiValueHeaders: null, headers: form, queryStringParameters: { a: '1' } },
  { Records: [message('m1'), message('m2'), message('m3')] },
  {
    Records: [
      fifoMessage('1', 'a', 'd1'),
      fifoMessage('2', 'b', createHash('sha256').update(body).digest('hex')),
      fifoMessage('3', 'a', 'd3'),
    ],
  },
  {
    Records: [
      kinesis('49590338271490256608559692538361571095921575989136588898'),
      kinesis('495903382714902566085596925383615710959215759891365888981'),
    ],
  },
  {
    eventSource: 'aws:kafka',
    eventSourceArn: arn('kafka', 'cluster'),
    bootstrapServers: 'b',
    records: { 'topic-0': [kafka(1), kafka(2)] },
  },
  { Records: [stream('1'), stream('2')] },
  { Records: [object('0055AED6DCD90281E5'), object('0055AED6DCD90281E6')] },
  { Records: [notification] },
  {
    version: '0',
    id: 'e1',
    source: 'shop',
    'detail-type': 'OrderPlaced',
    detail: { order: secret, lines: [1, 2] },
  },
  {
    arguments: { input: { amount: 1, note: secret } },
    identity: { sub: 'alice', issuer: 'issuer', claims: {} },
    request: { headers: { 'idempotency-key': secret } },
    info: { fieldName: 'pay', parentTypeName: 'Mutation' },
  },
  message('m4'),
  stream('3'),
];
