import type { APIGatewayProxyEventV2, Context } from 'aws-lambda';

/** A context as Lambda makes it: `callbackWaitsForEmptyEventLoop` is an accessor on the runtime's own state. */
export function lambdaContext(remainingMs = 30_000): Context {
  let waits = true;
  return {
    get callbackWaitsForEmptyEventLoop() {
      return waits;
    },
    set callbackWaitsForEmptyEventLoop(value) {
      waits = value;
    },
    functionName: 'orders',
    functionVersion: '$LATEST',
    invokedFunctionArn: 'arn:aws:lambda:eu-west-1:111122223333:function:orders',
    memoryLimitInMB: '128',
    awsRequestId: '00000000-0000-4000-8000-000000000000',
    logGroupName: '/aws/lambda/orders',
    logStreamName: '2026/01/01/[$LATEST]0',
    getRemainingTimeInMillis: () => remainingMs,
    done: () => {},
    fail: () => {},
    succeed: () => {},
  };
}

/** A request as API Gateway's HTTP API hands it over. */
export function httpRequest({
  method = 'POST',
  key = 'key-1' as string | null,
  body = '{"amount":7}',
} = {}): APIGatewayProxyEventV2 {
  return {
    version: '2.0',
    routeKey: `${method} /orders`,
    rawPath: '/orders',
    rawQueryString: '',
    headers: { 'content-type': 'application/json', ...(key !== null && { 'idempotency-key': key }) },
    requestContext: {
      accountId: '111122223333',
      apiId: 'api',
      domainName: 'api.example.com',
      domainPrefix: 'api',
      http: { method, path: '/orders', protocol: 'HTTP/1.1', sourceIp: '192.0.2.1', userAgent: 'test' },
      requestId: 'request',
      routeKey: `${method} /orders`,
      stage: '$default',
      time: '01/Jan/2026:00:00:00 +0000',
      timeEpoch: 1_767_225_600_000,
    },
    body,
    isBase64Encoded: false,
  };
}

export interface Gate<Value = void> {
  readonly passed: Promise<Value>;
  open(value: Value): void;
  fail(error: unknown): void;
}

/** A promise that the test decides on. */
export function gate<Value = void>(): Gate<Value> {
  let open!: Gate<Value>['open'];
  let fail!: Gate<Value>['fail'];
  const passed = new Promise<Value>((resolve, reject) => {
    open = resolve;
    fail = reject;
  });
  return { passed, open, fail };
}
