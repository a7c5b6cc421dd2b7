/**
 * Makes whole events as services send them, for tests. What a test does not name has a value that looks real; ids are new with
 * every event, so to deliver something again, pass the same event again.
 */
import { Buffer } from 'node:buffer';
import { createHash, randomUUID } from 'node:crypto';
import type {
  ALBEvent,
  APIGatewayEventIdentity,
  APIGatewayEventRequestContextV2,
  APIGatewayProxyEventBase,
  APIGatewayProxyEventV2WithRequestContext,
  DynamoDBRecord,
  DynamoDBStreamEvent,
  KinesisStreamEvent,
  KinesisStreamRecord,
  SNSEvent,
  SNSEventRecord,
  SQSEvent,
  SQSRecord,
} from 'aws-lambda';

/** A request as a client sends it. */
export interface HttpRequest<Authorizer = undefined> {
  /** @default 'POST' */
  readonly method?: string;
  /** @default '/' */
  readonly path?: string;
  /** As it stands in the URL, without `?`. */
  readonly query?: string;
  /** By name, or one pair for each line. */
  readonly headers?: Readonly<Record<string, string>> | readonly (readonly [name: string, value: string])[];
  /** Sent in the header `Idempotency-Key`. */
  readonly idempotencyKey?: string;
  /** A text, or bytes (sent as Base64), as they are; anything else as JSON, with that content type. */
  readonly body?: unknown;
  /** What the gateway's authorizer leaves in `requestContext.authorizer`. */
  readonly authorizer?: Authorizer;
}

const region = 'eu-west-1';
const account = '123456789012';
const address = { sourceIp: '192.0.2.1', userAgent: 'idemkit/testing' } as const;

/** The event of an HTTP API (payload format 2.0); a Function URL sends the same. Lines of one header are joined by commas. */
export function httpEventV2<Authorizer = undefined>(
  request: HttpRequest<Authorizer> = {},
): APIGatewayProxyEventV2WithRequestContext<APIGatewayEventRequestContextV2 & { authorizer: Authorizer }> {
  const { method = 'POST', path = '/', query = '', authorizer } = request;
  const headers: Record<string, string> = {};
  for (const [name, value] of linesOf(request)) {
    const wanted = name.toLowerCase();
    headers[wanted] = Object.hasOwn(headers, wanted) ? `${headers[wanted]},${value}` : value;
  }
  const parameters: Record<string, string> = {};
  for (const [name, values] of Object.entries(listsOf(new URLSearchParams(query)))) {
    parameters[name] = values.join();
  }
  return {
    version: '2.0',
    routeKey: '$default',
    rawPath: path,
    rawQueryString: query,
    headers,
    ...(query !== '' && { queryStringParameters: parameters }),
    requestContext: {
      accountId: account,
      apiId: 'api',
      domainName: `api.execute-api.${region}.amazonaws.com`,
      domainPrefix: 'api',
      http: { method, path, protocol: 'HTTP/1.1', ...address },
      requestId: randomUUID(),
      routeKey: '$default',
      stage: '$default',
      time: new Date().toUTCString(),
      timeEpoch: Date.now(),
      ...(authorizer !== undefined && { authorizer }),
    } as APIGatewayEventRequestContextV2 & { authorizer: Authorizer },
    ...bodyOf(request),
  };
}

/** What a REST API can tell of a caller besides what its authorizer says. */
export interface RestRequest<Authorizer = undefined> extends HttpRequest<Authorizer> {
  /** `requestContext.identity`: `userArn` with IAM, `apiKeyId` with a usage plan, … */
  readonly identity?: Partial<APIGatewayEventIdentity>;
}

/** The event of a REST API (payload format 1.0). */
export function httpEventV1<Authorizer = undefined>(
  request: RestRequest<Authorizer> = {},
): APIGatewayProxyEventBase<Authorizer> {
  const { method = 'POST', path = '/', query = '', authorizer } = request;
  const lines = linesOf(request);
  const parameters = [...new URLSearchParams(query)];
  return {
    resource: '/{proxy+}',
    path,
    httpMethod: method,
    headers: Object.fromEntries(lines),
    multiValueHeaders: listsOf(lines),
    queryStringParameters: parameters.length === 0 ? null : Object.fromEntries(parameters),
    multiValueQueryStringParameters: parameters.length === 0 ? null : listsOf(parameters),
    pathParameters: { proxy: path.slice(1) },
    stageVariables: null,
    requestContext: {
      accountId: account,
      apiId: 'api',
      httpMethod: method,
      path: `/prod${path}`,
      protocol: 'HTTP/1.1',
      stage: 'prod',
      requestId: randomUUID(),
      requestTimeEpoch: Date.now(),
      resourceId: 'resource',
      resourcePath: '/{proxy+}',
      identity: { ...nobody, ...address, ...request.identity },
      ...(authorizer !== undefined && { authorizer }),
    } as APIGatewayProxyEventBase<Authorizer>['requestContext'],
    ...{ body: null, ...bodyOf(request) },
  };
}

const nobody = {
  ...{ accessKey: null, accountId: null, apiKey: null, apiKeyId: null, caller: null, clientCert: null },
  ...{ cognitoAuthenticationProvider: null, cognitoAuthenticationType: null, cognitoIdentityId: null },
  ...{ cognitoIdentityPoolId: null, principalOrgId: null, user: null, userArn: null },
} as const;

export interface AlbRequest extends Omit<HttpRequest, 'authorizer'> {
  /**
   * Whether the target group has multi-value headers switched on.
   *
   * @default false: of several lines of one header the last one counts
   */
  readonly multiValue?: boolean;
}

/** The event of an Application Load Balancer, which leaves the query encoded. */
export function albEvent(request: AlbRequest = {}): ALBEvent {
  const { method = 'POST', path = '/', query = '', multiValue = false } = request;
  const lines = linesOf(request).map(([name, value]): Line => [name.toLowerCase(), value]);
  const parameters = query
    .split('&')
    .filter((pair) => pair !== '')
    .map((pair): Line => {
      const [name = '', ...value] = pair.split('=');
      return [name, value.join('=')];
    });
  return {
    requestContext: {
      elb: { targetGroupArn: `arn:aws:elasticloadbalancing:${region}:${account}:targetgroup/test/1` },
    },
    httpMethod: method,
    path,
    ...(multiValue
      ? { multiValueHeaders: listsOf(lines), multiValueQueryStringParameters: listsOf(parameters) }
      : { headers: Object.fromEntries(lines), queryStringParameters: Object.fromEntries(parameters) }),
    ...{ body: null, ...bodyOf(request) },
  };
}

/** A message as a sender sends it. */
export interface SqsMessage {
  /** A text as it is, anything else as JSON. */
  readonly body: unknown;
  /** @default a new one */
  readonly messageId?: string;
  /** Makes it a message of a FIFO queue. */
  readonly groupId?: string;
  /** @default the body's SHA-256, as with content-based deduplication */
  readonly deduplicationId?: string;
  /** The queue's name; one of a FIFO queue ends with `.fifo`. @default 'queue', 'queue.fifo' */
  readonly queue?: string;
}

/** A batch of SQS. */
export function sqsEvent(...messages: readonly SqsMessage[]): SQSEvent {
  return { Records: messages.map(sqsRecord) };
}

function sqsRecord(message: SqsMessage): SQSRecord {
  const { messageId = randomUUID(), groupId } = message;
  const body = textOf(message.body);
  const { deduplicationId = sha256(body), queue = groupId === undefined ? 'queue' : 'queue.fifo' } = message;
  const sentAt = String(Date.now());
  return {
    messageId,
    receiptHandle: `receipt of ${messageId}`,
    body,
    attributes: {
      ApproximateReceiveCount: '1',
      SentTimestamp: sentAt,
      SenderId: account,
      ApproximateFirstReceiveTimestamp: sentAt,
      ...(groupId !== undefined && {
        MessageGroupId: groupId,
        MessageDeduplicationId: deduplicationId,
        SequenceNumber: nextSequenceNumber(),
      }),
    },
    messageAttributes: {},
    md5OfBody: createHash('md5').update(body).digest('hex'),
    eventSource: 'aws:sqs',
    eventSourceARN: `arn:aws:sqs:${region}:${account}:${queue}`,
    awsRegion: region,
  };
}

/** A record as a producer puts it. */
export interface KinesisData {
  /** Bytes or a text as they are, anything else as JSON. */
  readonly data: unknown;
  /** @default 'key' */
  readonly partitionKey?: string;
  /** @default above all others */
  readonly sequenceNumber?: string;
  /** @default 'shardId-000000000000' */
  readonly shardId?: string;
  /** The stream's name. @default 'stream' */
  readonly stream?: string;
}

/** A batch of Kinesis Data Streams. */
export function kinesisEvent(...records: readonly KinesisData[]): KinesisStreamEvent {
  return { Records: records.map(kinesisRecord) };
}

function kinesisRecord(record: KinesisData): KinesisStreamRecord {
  const { partitionKey = 'key', shardId = 'shardId-000000000000', stream = 'stream' } = record;
  const { sequenceNumber = nextSequenceNumber() } = record;
  return {
    awsRegion: region,
    eventID: `${shardId}:${sequenceNumber}`,
    eventName: 'aws:kinesis:record',
    eventSource: 'aws:kinesis',
    eventSourceARN: `arn:aws:kinesis:${region}:${account}:stream/${stream}`,
    eventVersion: '1.0',
    invokeIdentityArn: `arn:aws:iam::${account}:role/function`,
    kinesis: {
      kinesisSchemaVersion: '1.0',
      partitionKey,
      sequenceNumber,
      data: bytesOf(record.data).toString('base64'),
      approximateArrivalTimestamp: Date.now() / 1_000,
    },
  };
}

type Image = NonNullable<NonNullable<DynamoDBRecord['dynamodb']>['Keys']>;

/** A change of an item; keys and images are in DynamoDB's own form: `{ id: { S: 'a' } }`. */
export interface DynamoChange {
  readonly keys: Image;
  readonly newImage?: Image;
  readonly oldImage?: Image;
  /** @default as the images tell: `MODIFY` with both, `REMOVE` with the old one, else `INSERT` */
  readonly eventName?: 'INSERT' | 'MODIFY' | 'REMOVE';
  /** @default a new one */
  readonly eventId?: string;
  /** @default above all others */
  readonly sequenceNumber?: string;
  /** The table's name. @default 'table' */
  readonly table?: string;
}

/** A batch of DynamoDB Streams. */
export function dynamoStreamEvent(...changes: readonly DynamoChange[]): DynamoDBStreamEvent {
  return { Records: changes.map(dynamoRecord) };
}

function dynamoRecord(change: DynamoChange): DynamoDBRecord {
  const { keys, newImage, oldImage, table = 'table' } = change;
  const removed = newImage === undefined ? 'REMOVE' : 'MODIFY';
  const { eventName = oldImage === undefined ? 'INSERT' : removed } = change;
  const { eventId = randomUUID().replaceAll('-', ''), sequenceNumber = nextSequenceNumber() } = change;
  return {
    eventID: eventId,
    eventName,
    eventVersion: '1.1',
    eventSource: 'aws:dynamodb',
    awsRegion: region,
    dynamodb: {
      ApproximateCreationDateTime: Math.floor(Date.now() / 1_000),
      Keys: keys,
      ...(newImage && { NewImage: newImage }),
      ...(oldImage && { OldImage: oldImage }),
      SequenceNumber: sequenceNumber,
      SizeBytes: Buffer.byteLength(JSON.stringify([keys, newImage, oldImage])),
      StreamViewType: 'NEW_AND_OLD_IMAGES',
    },
    eventSourceARN: `arn:aws:dynamodb:${region}:${account}:table/${table}/stream/2026-01-01T00:00:00.000`,
  };
}

/** A notification as a publisher publishes it. */
export interface SnsNotification {
  /** A text as it is, anything else as JSON. */
  readonly message: unknown;
  readonly subject?: string;
  /** @default a new one */
  readonly messageId?: string;
  /** The topic's name. @default 'topic' */
  readonly topic?: string;
}

/** An event of SNS. SNS itself sends one notification at a time. */
export function snsEvent(...notifications: readonly SnsNotification[]): SNSEvent {
  return { Records: notifications.map(snsRecord) };
}

function snsRecord({ message, subject, messageId, topic = 'topic' }: SnsNotification): SNSEventRecord {
  const TopicArn = `arn:aws:sns:${region}:${account}:${topic}`;
  return {
    EventVersion: '1.0',
    EventSubscriptionArn: `${TopicArn}:${randomUUID()}`,
    EventSource: 'aws:sns',
    Sns: {
      SignatureVersion: '1',
      Timestamp: new Date().toISOString(),
      Signature: 'signature',
      SigningCertUrl: `https://sns.${region}.amazonaws.com/certificate.pem`,
      MessageId: messageId ?? randomUUID(),
      Message: textOf(message),
      MessageAttributes: {},
      Type: 'Notification',
      UnsubscribeUrl: `https://sns.${region}.amazonaws.com/unsubscribe`,
      TopicArn,
      // SNS sends null where there is none.
      Subject: subject ?? (null as unknown as string),
    },
  };
}

type Line = readonly [name: string, value: string];

function linesOf({ headers = {}, idempotencyKey, body }: HttpRequest<unknown>): Line[] {
  const lines: Line[] = Array.isArray(headers) ? [...headers] : Object.entries(headers);
  if (idempotencyKey !== undefined) lines.push(['Idempotency-Key', idempotencyKey]);
  const isJson = body !== undefined && typeof body !== 'string' && !(body instanceof Uint8Array);
  if (isJson && !lines.some(([name]) => name.toLowerCase() === 'content-type')) {
    lines.push(['Content-Type', 'application/json']);
  }
  return lines;
}

function listsOf(pairs: Iterable<Line>): Record<string, string[]> {
  const lists = new Map<string, string[]>();
  for (const [name, value] of pairs) {
    const list = lists.get(name);
    if (list) list.push(value);
    else lists.set(name, [value]);
  }
  return Object.fromEntries(lists);
}

const textOf = (value: unknown): string =>
  typeof value === 'string' ? value : (JSON.stringify(value) ?? '');

const bytesOf = (value: unknown): Buffer =>
  value instanceof Uint8Array ? Buffer.from(value) : Buffer.from(textOf(value));

const bodyOf = ({ body }: HttpRequest<unknown>): { body?: string; isBase64Encoded: boolean } => ({
  ...(body instanceof Uint8Array
    ? { body: Buffer.from(body).toString('base64') }
    : body !== undefined && { body: textOf(body) }),
  isBase64Encoded: body instanceof Uint8Array,
});

const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex');

let sequence = 0;

/** Of 56 digits, as Kinesis has them: more than a double carries. */
const nextSequenceNumber = (): string =>
  `49${String(Date.now()).padStart(20, '0')}${String(sequence++).padStart(34, '0')}`;
