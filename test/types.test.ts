import type { TransactWriteCommandInput } from '@aws-sdk/lib-dynamodb';
import middy7 from '@middy/core';
import type {
  ALBEvent,
  ALBResult,
  APIGatewayProxyEvent,
  APIGatewayProxyEventV2,
  APIGatewayProxyHandlerV2,
  APIGatewayProxyResult,
  APIGatewayProxyResultV2,
  Context,
  EventBridgeEvent,
  Handler,
  LambdaFunctionURLEvent,
} from 'aws-lambda';
import middy6 from 'middy6';
import { describe, expect, expectTypeOf, it } from 'vitest';
import {
  createOnce,
  type GuardedHandler,
  IdempotencyError,
  type IdempotencyErrorCode,
  type IdempotencyEvent,
  type IdempotentMiddleware,
  type IdempotentOptions,
  idempotent,
  type Operation,
  operation,
  type TransactWrite,
  updateVersion,
  wholePayload,
} from '../lib/index.ts';
import { memoryStore } from '../lib/testing.ts';

interface Order {
  readonly id: string;
  readonly amount: number;
}
interface Receipt {
  readonly orderId: string;
}

const pay = async (event: Order): Promise<Receipt> => ({ orderId: event.id });

describe('the type of the wrapper', () => {
  it("keeps the handler's event and result", () => {
    const once = idempotent(pay);
    expectTypeOf(once).toEqualTypeOf<GuardedHandler<Order, Promise<Receipt>>>();
    expectTypeOf(once).parameter(0).toEqualTypeOf<Order>();
    expectTypeOf(once).parameter(1).toEqualTypeOf<Context | undefined>();
    expectTypeOf(once).returns.toEqualTypeOf<Promise<Receipt>>();
    // @ts-expect-error an order has an id
    expectTypeOf(once).toBeCallableWith({ amount: 7 });
  });

  it('is the same for a sync handler, and for one without a result', () => {
    expectTypeOf(idempotent((event: Order) => event.amount)).returns.toEqualTypeOf<Promise<number>>();
    expectTypeOf(idempotent(async (_: Order) => {})).returns.toEqualTypeOf<Promise<void>>();
    expectTypeOf(
      idempotent((event: Order) => (event.amount > 0 ? pay(event) : undefined)),
    ).returns.toEqualTypeOf<Promise<Receipt | undefined>>();
  });

  it('keeps the events and results of aws-lambda', () => {
    const v2 = idempotent(async (_: APIGatewayProxyEventV2): Promise<APIGatewayProxyResultV2> => 'ok');
    expectTypeOf(v2).parameter(0).toEqualTypeOf<APIGatewayProxyEventV2>();
    expectTypeOf(v2).returns.toEqualTypeOf<Promise<APIGatewayProxyResultV2>>();
    expectTypeOf(v2).toExtend<Handler<APIGatewayProxyEventV2, APIGatewayProxyResultV2>>();

    const answer = { statusCode: 200, body: '' };
    const v1 = idempotent(async (_: APIGatewayProxyEvent): Promise<APIGatewayProxyResult> => answer);
    expectTypeOf(v1).toExtend<Handler<APIGatewayProxyEvent, APIGatewayProxyResult>>();
    const alb = idempotent(async (_: ALBEvent): Promise<ALBResult> => answer);
    expectTypeOf(alb).toExtend<Handler<ALBEvent, ALBResult>>();
    const url = idempotent(async (_: LambdaFunctionURLEvent) => answer);
    expectTypeOf(url).parameter(0).toEqualTypeOf<LambdaFunctionURLEvent>();
    const bridge = idempotent(async (event: EventBridgeEvent<'Paid', Order>) => event.detail.id);
    expectTypeOf(bridge).returns.toEqualTypeOf<Promise<string>>();
  });

  it("takes a handler that is declared with aws-lambda's own types", () => {
    const declared: Handler<Order, Receipt> = async (event) => ({ orderId: event.id });
    expectTypeOf(idempotent(declared)).parameter(0).toEqualTypeOf<Order>();
    expectTypeOf(idempotent(declared)).toExtend<Handler<Order, Receipt>>();
    const api: APIGatewayProxyHandlerV2 = async () => 'ok';
    expectTypeOf(idempotent(api)).toExtend<APIGatewayProxyHandlerV2>();
    expectTypeOf(idempotent(async (event: Order, _context: Context) => event)).returns.toEqualTypeOf<
      Promise<Order>
    >();
  });

  it('gives the handler a context with the operation', () => {
    idempotent(async (_: Order, context) => {
      expectTypeOf(context).toEqualTypeOf<Context>();
      expectTypeOf(operation(context)).toEqualTypeOf<Operation>();
      expectTypeOf(operation(context).token('charge')).toEqualTypeOf<string>();
      expectTypeOf(context.getRemainingTimeInMillis()).toEqualTypeOf<number>();
    });
  });

  it("types the options' event by the handler", () => {
    idempotent(pay, {
      key: (event, context) => {
        expectTypeOf(event).toEqualTypeOf<Order>();
        expectTypeOf(context).toEqualTypeOf<Context>();
        return event.id;
      },
      tenant: (event) => {
        expectTypeOf(event).toEqualTypeOf<Order>();
        return event.id;
      },
      fingerprint: (event) => {
        expectTypeOf(event).toEqualTypeOf<Order>();
        return event.amount;
      },
      onReplay: (_answer, event) => {
        expectTypeOf(event).toEqualTypeOf<Order>();
      },
      http: {
        answerHeaders: (event) => {
          expectTypeOf(event).toEqualTypeOf<Order>();
          return {};
        },
      },
    });
  });

  it('is not steered by the options', () => {
    const withOptions = idempotent(pay, { key: (event: { readonly id: string }) => event.id });
    expectTypeOf(withOptions).toEqualTypeOf<GuardedHandler<Order, Promise<Receipt>>>();
    const whole = idempotent(pay, { key: wholePayload });
    expectTypeOf(whole).toEqualTypeOf<GuardedHandler<Order, Promise<Receipt>>>();
    // @ts-expect-error orders have no email
    idempotent(pay, { key: (event) => event.email });
    // @ts-expect-error the handler decides what the event is
    idempotent(pay, { key: (event: { email: string }) => event.email });
    const options: IdempotentOptions<Order> = { key: (event) => event.id };
    expectTypeOf(idempotent(pay, options)).toEqualTypeOf<GuardedHandler<Order, Promise<Receipt>>>();
  });

  it('goes inside and around Middy', () => {
    for (const inside of [middy6(idempotent(pay)), middy7(idempotent(pay))]) {
      expectTypeOf(inside).parameter(0).toEqualTypeOf<Order>();
    }
    const around6 = idempotent(middy6<Order, Receipt>().handler(pay));
    const around7 = idempotent(middy7<Order, Receipt>().handler(pay));
    expectTypeOf(around6).parameter(0).toEqualTypeOf<Order>();
    expectTypeOf(around7).parameter(0).toEqualTypeOf<Order>();
    expectTypeOf(around6).returns.toEqualTypeOf<Promise<Receipt>>();
    expectTypeOf(around7).returns.toEqualTypeOf<Promise<Receipt>>();
  });
});

describe('the type of the middleware', () => {
  it('leaves the type of a handler as it is', () => {
    const before6 = middy6<APIGatewayProxyEventV2, APIGatewayProxyResultV2>();
    const before7 = middy7<APIGatewayProxyEventV2, APIGatewayProxyResultV2>();
    const after6 = before6.use(idempotent());
    const after7 = before7.use(idempotent());
    expectTypeOf(after6).toEqualTypeOf<typeof before6>();
    expectTypeOf(after7).toEqualTypeOf<typeof before7>();
    expectTypeOf(after6).parameter(0).toEqualTypeOf<APIGatewayProxyEventV2>();
    expectTypeOf(after7).parameter(0).toEqualTypeOf<APIGatewayProxyEventV2>();
    expectTypeOf(before6.use([idempotent()])).toEqualTypeOf<typeof before6>();
    expectTypeOf(before7.use([idempotent()])).toEqualTypeOf<typeof before7>();
  });

  it('lets the handler after it be typed by Middy', () => {
    for (const handler of [
      middy6<Order, Receipt>()
        .use(idempotent())
        .handler(async (event) => ({ orderId: event.id })),
      middy7<Order, Receipt>()
        .use(idempotent())
        .handler(async (event) => ({ orderId: event.id })),
    ]) {
      expectTypeOf(handler).parameter(0).toEqualTypeOf<Order>();
      expectTypeOf(handler).toExtend<Handler<Order, Receipt>>();
    }
    middy7<Order, Receipt>()
      .use(idempotent())
      // @ts-expect-error a receipt has an order
      .handler(async (event) => ({ id: event.id }));
    middy6<Order, Receipt>()
      .use(idempotent())
      // @ts-expect-error orders have no email
      .handler(async (event) => ({ orderId: event.email }));
    middy7<Order, Receipt>()
      .use(idempotent())
      // @ts-expect-error orders have no email
      .handler(async (event) => ({ orderId: event.email }));
  });

  it('leaves the context as it is too: the operation is had with operation()', () => {
    const handler = middy7<Order, Receipt>()
      .use(idempotent())
      .handler(async (event, context) => {
        expectTypeOf(operation(context)).toEqualTypeOf<Operation>();
        expectTypeOf(context).toEqualTypeOf<Context>();
        return { orderId: event.id };
      });
    expectTypeOf(handler).parameter(1).toEqualTypeOf<Context>();
  });

  it("is one of Middy's own", () => {
    expectTypeOf(idempotent()).toEqualTypeOf<IdempotentMiddleware>();
    expectTypeOf(idempotent({ ttlSeconds: 60 })).toEqualTypeOf<IdempotentMiddleware>();
    expectTypeOf<IdempotentMiddleware>().toExtend<middy6.MiddlewareObj>();
    expectTypeOf<IdempotentMiddleware>().toExtend<middy7.MiddlewareObj>();
  });

  it('takes options for an event that is named there', () => {
    idempotent({ key: (event: Order) => event.id });
    idempotent<Order>({
      key: (event) => {
        expectTypeOf(event).toEqualTypeOf<Order>();
        return [event.id, event.amount, undefined];
      },
    });
  });
});

describe('the type of the options', () => {
  const wrong: [string, () => unknown][] = [
    // @ts-expect-error no such option
    ['an unknown name', () => idempotent({ ttl: 60 })],
    // @ts-expect-error no such option of http
    ['an unknown name within', () => idempotent({ http: { headerName: 'X-Key' } })],
    // @ts-expect-error a number
    ['a text for a number', () => idempotent({ ttlSeconds: '60' })],
    // @ts-expect-error in an object
    ['a bare lease', () => idempotent({ lease: 30 })],
    // @ts-expect-error 'refuse' or { waitMs }
    ['another way to wait', () => idempotent({ whenBusy: 'wait' })],
    // @ts-expect-error 'refuse' or 'run'
    ['another way to fail', () => idempotent({ whenStoreFails: 'ignore' })],
    // @ts-expect-error lenient or strict
    ['another syntax', () => idempotent({ http: { keySyntax: 'loose' } })],
    // @ts-expect-error which of both
    ['a bare keep', () => idempotent({ keep: true })],
    // @ts-expect-error not a store
    ['something for a store', () => idempotent({ store: {} })],
    // @ts-expect-error false, never true
    ['a fingerprint that is true', () => idempotent({ fingerprint: true })],
    // @ts-expect-error a function
    ['a path for a key', () => idempotent({ key: 'body.id' })],
    // @ts-expect-error the middleware has one argument
    ['options after options', () => idempotent({}, {})],
  ];

  it.each(wrong)('refuses %s, as the guard does when it is made', (_, make) => {
    expect(make).toThrow(expect.objectContaining({ code: 'BAD_OPTION' }));
  });

  it('demands of functions what they are to return', () => {
    // @ts-expect-error texts, or parts
    idempotent({ key: () => true });
    // @ts-expect-error a text
    idempotent({ tenant: () => 7 });
    // @ts-expect-error true or false
    idempotent({ remember: () => 'yes' });
    // @ts-expect-error texts
    idempotent({ http: { answerHeaders: () => ({ Vary: 7 }) } });
    // @ts-expect-error an HTTP response
    idempotent({ http: { errors: () => ({ status: 400 }) } });
  });

  it('cannot be changed afterwards', () => {
    const options: IdempotentOptions = { store: memoryStore() };
    // @ts-expect-error read-only
    options.ttlSeconds = 60;
  });

  it('lets an observer tell the events apart', () => {
    const observe = (event: IdempotencyEvent) => {
      expectTypeOf(event.namespace).toEqualTypeOf<string>();
      if (event.type === 'takeover') expectTypeOf(event.ageMs).toEqualTypeOf<number>();
      if (event.type === 'busy') expectTypeOf(event.leaseLeftMs).toEqualTypeOf<number>();
      if (event.type === 'unguarded') {
        expectTypeOf(event.reason).toEqualTypeOf<'method' | 'no-key' | 'store-failed' | 'disabled'>();
        // @ts-expect-error no record, no attempt
        event.attempt;
      }
    };
    idempotent({ observe });
  });
});

describe('the types of an operation', () => {
  const op = {} as Operation;
  const unused = () => {
    const writes: NonNullable<TransactWriteCommandInput['TransactItems']> = [];
    const table = { TableName: 'orders', ReturnValuesOnConditionCheckFailure: 'ALL_OLD' } as const;
    return {
      step: op.step('charge', async ({ token }) => ({ token })),
      plain: op.step('charge', () => 7, { atMostOnce: true }),
      nothing: op.step('charge', async () => {}),
      transaction: op.transaction('reserve', { writes }),
      withValue: op.transaction('reserve', { value: { reserved: 1 } }),
      commit: op.commit({ result: { statusCode: 201 }, writes, messages: [] }),
      helpers: op.commit({
        result: undefined,
        writes: [
          createOnce.write({ tableName: 'orders', partitionKey: 'pk', item: { pk: 'a' } }),
          updateVersion.write({ tableName: 'orders', key: { pk: 'a' }, version: 'v', set: { left: 1 } }),
          { Put: { ...table, Item: { pk: 'a' } } },
        ],
      }),
    };
  };

  it('follow what the handler gives them', () => {
    type Of<Name extends keyof ReturnType<typeof unused>> = ReturnType<typeof unused>[Name];
    expectTypeOf<Of<'step'>>().toEqualTypeOf<Promise<{ token: string }>>();
    expectTypeOf<Of<'plain'>>().toEqualTypeOf<Promise<number>>();
    expectTypeOf<Of<'nothing'>>().toEqualTypeOf<Promise<void>>();
    expectTypeOf<Of<'transaction'>>().toEqualTypeOf<Promise<undefined>>();
    expectTypeOf<Of<'withValue'>>().toEqualTypeOf<Promise<{ reserved: number }>>();
    expectTypeOf<Of<'commit'>>().toEqualTypeOf<Promise<{ statusCode: number }>>();
    expectTypeOf<Of<'helpers'>>().toEqualTypeOf<Promise<undefined>>();
  });

  it("take lib-dynamodb's transaction items as they are, and are taken there", () => {
    type Items = NonNullable<TransactWriteCommandInput['TransactItems']>;
    expectTypeOf<Items>().toExtend<readonly TransactWrite[]>();
    expectTypeOf<Pick<NonNullable<TransactWrite['Put']>, 'TableName' | 'Item'>>().toExtend<
      NonNullable<Items[number]['Put']>
    >();
    expectTypeOf<
      Pick<NonNullable<TransactWrite['Update']>, 'TableName' | 'Key' | 'UpdateExpression'>
    >().toExtend<NonNullable<Items[number]['Update']>>();
  });

  it('demand a result of a commit, and an action of a write', () => {
    const refused = () => [
      // @ts-expect-error a commit has a result
      op.commit({ writes: [] }),
      // @ts-expect-error no such action
      op.commit({ result: 1, writes: [{ Get: { TableName: 'orders' } }] }),
      // @ts-expect-error a message has a group
      op.commit({ result: 1, messages: [{ destination: 'mail', body: 'm' }] }),
    ];
    expectTypeOf(refused).toBeFunction();
  });
});

describe('the type of errors', () => {
  it('is told by `is`', () => {
    const error: unknown = new IdempotencyError('IN_PROGRESS', 'busy');
    if (!IdempotencyError.is(error)) throw error;
    expectTypeOf(error).toEqualTypeOf<IdempotencyError>();
    expectTypeOf(error.code).toEqualTypeOf<IdempotencyErrorCode>();
    // @ts-expect-error no such code
    IdempotencyError.is(error, 'BUSY');
  });
});
