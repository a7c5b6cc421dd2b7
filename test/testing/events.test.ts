import type {
  ALBEvent,
  APIGatewayProxyEvent,
  APIGatewayProxyEventV2,
  APIGatewayProxyEventV2WithLambdaAuthorizer,
  DynamoDBRecord,
  DynamoDBStreamEvent,
  KinesisStreamEvent,
  KinesisStreamRecord,
  SNSEvent,
  SNSEventRecord,
  SQSBatchResponse,
  SQSEvent,
  SQSRecord,
} from 'aws-lambda';
import { describe, expect, expectTypeOf, it, vi } from 'vitest';
import { eachRecord, idempotent } from '../../lib/index.ts';
import {
  albEvent,
  dynamoStreamEvent,
  type HttpRequest,
  httpEventV1,
  httpEventV2,
  kinesisEvent,
  snsEvent,
  sqsEvent,
} from '../../lib/testing.ts';
import { lambdaContext } from '../support/invocation.ts';
import { recordingStore } from '../support/recording-store.ts';

describe.each<[string, (request: HttpRequest) => object]>([
  ['httpEventV2', httpEventV2],
  ['httpEventV1', httpEventV1],
  ['albEvent', albEvent],
  ['albEvent with multi-value headers', (request) => albEvent({ ...request, multiValue: true })],
])('a request made by %s', (_, make) => {
  function counting() {
    const handler = vi.fn(async (_event: object) => ({ statusCode: 201, body: 'paid' }));
    return { handler, call: idempotent(handler, { store: recordingStore() }) };
  }

  it('is an operation by its key, and a repeat is answered', async () => {
    const { call, handler } = counting();
    const request = { path: '/payments', idempotencyKey: 'key-1', body: { amount: 5 } };
    expect(await call(make(request))).toMatchObject({ statusCode: 201 });
    const replayed = (await call(make(request))) as { headers?: object; multiValueHeaders?: object };
    expect(JSON.stringify(replayed)).toContain('Idempotent-Replayed');
    expect(handler).toHaveBeenCalledTimes(1);
    expect(await call(make({ ...request, body: { amount: 6 } }))).toMatchObject({ statusCode: 422 });
    expect(await call(make({ ...request, path: '/refunds' }))).toMatchObject({ statusCode: 422 });
    expect(await call(make({ ...request, query: 'a=1' }))).toMatchObject({ statusCode: 422 });
    expect(await call(make({ ...request, idempotencyKey: 'key-2' }))).toMatchObject({ statusCode: 201 });
  });

  it('is refused without a key, and passes with a method that changes nothing', async () => {
    const { call, handler } = counting();
    expect(await call(make({ body: 'a' }))).toMatchObject({ statusCode: 400 });
    expect(await call(make({ method: 'GET' }))).toMatchObject({ statusCode: 201 });
    expect(handler).toHaveBeenCalledTimes(1);
  });

  it('has its body as it was sent: text, bytes, or JSON', () => {
    expect(make({ body: 'text' })).toMatchObject({ body: 'text', isBase64Encoded: false });
    expect(make({ body: { a: 1 } })).toMatchObject({ body: '{"a":1}', isBase64Encoded: false });
    expect(make({ body: Buffer.from([0xff]) })).toMatchObject({ body: '/w==', isBase64Encoded: true });
    expect(JSON.stringify(make({ body: { a: 1 } })).toLowerCase()).toContain('application/json');
    const typed = make({ body: { a: 1 }, headers: { 'content-type': 'application/problem+json' } });
    expect(JSON.stringify(typed)).not.toContain('"application/json"');
  });

  it('survives JSON, as every event has', () => {
    const event = make({ idempotencyKey: 'k', body: { a: 1 }, query: 'a=1&a=2&b=%20', path: '/x' });
    expect(JSON.parse(JSON.stringify(event))).toEqual(event);
  });

  it('may send a header twice, which makes the key a bad one where the event shows it', async () => {
    const twice = make({
      headers: [
        ['Idempotency-Key', 'a'],
        ['Idempotency-Key', 'b'],
      ],
    });
    const { call } = counting();
    // An HTTP API joins the lines, a load balancer without multi-value headers keeps the last one.
    const isLost = make === albEvent;
    expect(await call(twice)).toMatchObject({ statusCode: isLost ? 201 : 400 });
  });
});

describe('a query', () => {
  it('is in each event as its service writes it', () => {
    const query = 'a=1&a=2&b=%C3%BC';
    expect(httpEventV2({ query })).toMatchObject({
      rawQueryString: query,
      queryStringParameters: { a: '1,2', b: 'ü' },
    });
    expect(httpEventV1({ query })).toMatchObject({
      queryStringParameters: { a: '2', b: 'ü' },
      multiValueQueryStringParameters: { a: ['1', '2'], b: ['ü'] },
    });
    expect(albEvent({ query })).toMatchObject({ queryStringParameters: { a: '2', b: '%C3%BC' } });
    expect(albEvent({ query, multiValue: true })).toMatchObject({
      multiValueQueryStringParameters: { a: ['1', '2'], b: ['%C3%BC'] },
    });
  });
});

describe('the caller of a request', () => {
  it('is whom the authorizer names', async () => {
    for (const from of [
      (principalId: string) => httpEventV1({ idempotencyKey: 'k', authorizer: { principalId } }),
      (principalId: string) => httpEventV2({ idempotencyKey: 'k', authorizer: { lambda: { principalId } } }),
      (principalId: string) => httpEventV1({ idempotencyKey: 'k', identity: { userArn: principalId } }),
    ]) {
      const store = recordingStore();
      const call = idempotent(async (_event: object) => 'done', { store });
      for (const name of ['ann', 'bob', 'ann']) await call(from(name));
      expect(store.operations).toHaveLength(2);
    }
  });

  it('has the type that the handler expects', () => {
    expectTypeOf(httpEventV2()).toExtend<APIGatewayProxyEventV2>();
    expectTypeOf(httpEventV1()).toExtend<APIGatewayProxyEvent>();
    expectTypeOf(albEvent()).toExtend<ALBEvent>();
    const authorized = httpEventV2({ authorizer: { lambda: { customerId: 'c-1' } } });
    expectTypeOf(authorized).toExtend<APIGatewayProxyEventV2WithLambdaAuthorizer<{ customerId: string }>>();
    expect(authorized.requestContext.authorizer.lambda.customerId).toBe('c-1');
  });
});

describe('a batch', () => {
  /** Guards a handler of one record on a store of its own. */
  function each<Record extends SQSRecord | KinesisStreamRecord | DynamoDBRecord | SNSEventRecord>(
    work: (record: Record & { payload: unknown }) => unknown,
  ) {
    const handler = idempotent(eachRecord<Record>(work as never, { onFailure: () => {} }), {
      ...{ store: recordingStore(), namespace: 'n' },
    });
    return (event: object) =>
      handler(event as never, lambdaContext(60_000)) as Promise<SQSBatchResponse | undefined>;
  }

  it('of sqsEvent is done once, however often it is delivered', async () => {
    const payloads: unknown[] = [];
    const handler = each<SQSRecord>((record) => payloads.push(record.payload));
    const event = sqsEvent({ body: { id: 1 } }, { body: '{"id":2}' }, { body: { id: 1 } });
    expectTypeOf(event).toEqualTypeOf<SQSEvent>();
    for (let delivery = 0; delivery < 2; delivery++) {
      expect(await handler(event)).toEqual({ batchItemFailures: [] });
    }
    expect(payloads).toEqual([{ id: 1 }, { id: 2 }, { id: 1 }]);
  });

  it('of sqsEvent with groups is in order, and a message that is sent again is the same', async () => {
    const handled: unknown[] = [];
    const handler = each<SQSRecord>((record) => {
      handled.push(record.payload);
      if (record.payload === 'bad') throw new Error('bad');
    });
    const message = (body: unknown, groupId: string, deduplicationId?: string) => ({
      ...{ body: JSON.stringify(body), groupId },
      ...(deduplicationId !== undefined && { deduplicationId }),
    });
    const event = sqsEvent(message('bad', 'a'), message('behind', 'a'), message('other', 'b', 'd-1'));
    const failed = (await handler(event))?.batchItemFailures.map(({ itemIdentifier }) => itemIdentifier);
    expect(failed).toEqual(event.Records.slice(0, 2).map(({ messageId }) => messageId));
    expect(handled.sort()).toEqual(['bad', 'other']);
    await handler(sqsEvent(message('other', 'b', 'd-1')));
    expect(handled).toHaveLength(2);
  });

  it('of kinesisEvent is in order and numbered', async () => {
    const payloads: unknown[] = [];
    const handler = each<KinesisStreamRecord>((record) => payloads.push(record.payload));
    const event = kinesisEvent({ data: { id: 1 } }, { data: Buffer.from('2') }, { data: '3' });
    expectTypeOf(event).toEqualTypeOf<KinesisStreamEvent>();
    const numbers = event.Records.map(({ kinesis }) => BigInt(kinesis.sequenceNumber));
    expect(numbers).toEqual([...numbers].sort((left, right) => (left < right ? -1 : 1)));
    for (let delivery = 0; delivery < 2; delivery++) await handler(event);
    expect(payloads).toEqual([{ id: 1 }, 2, 3]);
    const [second] = kinesisEvent({ data: {}, shardId: 'shardId-000000000001', sequenceNumber: '7' }).Records;
    expect(second?.eventID).toBe('shardId-000000000001:7');
  });

  it('of dynamoStreamEvent tells by its images what happened', async () => {
    const names: unknown[] = [];
    const handler = each<DynamoDBRecord>((record) => names.push(record.eventName));
    const keys = { id: { S: 'a' } };
    const [old, current] = [
      { ...keys, n: { N: '1' } },
      { ...keys, n: { N: '2' } },
    ];
    const event = dynamoStreamEvent(
      { keys, newImage: old },
      { keys, newImage: current, oldImage: old },
      { keys, oldImage: current },
      { keys },
    );
    expectTypeOf(event).toEqualTypeOf<DynamoDBStreamEvent>();
    for (let delivery = 0; delivery < 2; delivery++) await handler(event);
    expect(names).toEqual(['INSERT', 'MODIFY', 'REMOVE', 'INSERT']);
  });

  it('of snsEvent is one notification, which a topic may deliver twice', async () => {
    const payloads: unknown[] = [];
    const handler = each<SNSEventRecord>((record) => payloads.push(record.payload));
    const event = snsEvent({ message: { id: 1 } });
    expectTypeOf(event).toEqualTypeOf<SNSEvent>();
    for (let delivery = 0; delivery < 2; delivery++) await handler(event);
    await handler(snsEvent({ message: { id: 1 } }));
    expect(payloads).toEqual([{ id: 1 }, { id: 1 }]);
  });

  it('of one queue, stream or topic has nothing to do with another', async () => {
    const store = recordingStore();
    const call = idempotent(async (_event: object) => undefined, { store });
    for (const queue of ['orders', 'refunds']) {
      await call(sqsEvent({ body: 'x', messageId: 'm', queue }).Records[0] as object);
      await call(snsEvent({ message: 'x', messageId: 'm', topic: queue }).Records[0] as object);
      await call(kinesisEvent({ data: 'x', sequenceNumber: '1', stream: queue }).Records[0] as object);
      await call(dynamoStreamEvent({ keys: {}, eventId: 'e', table: queue }).Records[0] as object);
    }
    expect(store.operations).toHaveLength(8);
  });
});
