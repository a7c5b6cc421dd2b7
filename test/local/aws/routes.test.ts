import { once } from 'node:events';
import { request } from 'node:http';
import { json } from 'node:stream/consumers';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Stack, startStack } from '../../../local/stack/stack.ts';
import { dynamodbEndpoint } from '../../support/dynamodb.ts';
import { type WrittenFunctions, writeFunctions } from '../functions.ts';

const source = `
  export const echo = async (event) => event;
  export const answer = async (event) => JSON.parse(event.body);
  export const nothing = async () => {};
`;

let functions: WrittenFunctions;
let stack: Stack;

beforeAll(async () => {
  functions = await writeFunctions(source);
  const { entry } = functions;
  const names = ['echo', 'answer', 'nothing'];
  stack = await startStack(
    {
      functions: Object.fromEntries(
        names.map((name) => [name, { entry, handler: name, timeoutSeconds: 20, maxConcurrency: 3 }]),
      ),
      routes: names.flatMap((name) =>
        ['GET', 'POST'].map((method) => ({ method, path: `/${name}`, function: name })),
      ),
    },
    { dynamodbEndpoint: dynamodbEndpoint() },
  );
});

afterAll(async () => {
  await stack?.stop();
  await functions?.remove();
});

const get = (path: string): Promise<Response> => fetch(`${stack.url}${path}`);
const post = (path: string, body: string): Promise<Response> =>
  fetch(`${stack.url}${path}`, { method: 'POST', headers: { 'content-type': 'application/json' }, body });

/** With headers as they stand: `fetch` would join and forbid some. */
async function sent(path: string, headers: string[], body?: string | Buffer): Promise<unknown> {
  const outgoing = request(`${stack.url}${path}`, {
    method: body === undefined ? 'GET' : 'POST',
    headers: ['Host', 'api.example.com', ...headers],
  });
  outgoing.end(body);
  const [incoming] = await once(outgoing, 'response');
  return json(incoming);
}

describe('a local route', () => {
  test('makes the event that API Gateway would make', async () => {
    const body = '{"amount":4200}';
    const event = await sent(
      '/echo?b=2&a=1&b=3&name=Ada%20L&empty=',
      [
        ...['Content-Type', 'application/json', 'User-Agent', 'tests/1'],
        ...['X-Tag', 'one', 'x-tag', 'two', 'Cookie', 'a=1; b=2', 'Content-Length', `${body.length}`],
      ],
      body,
    );
    expect(event).toEqual({
      version: '2.0',
      routeKey: 'POST /echo',
      rawPath: '/echo',
      rawQueryString: 'b=2&a=1&b=3&name=Ada%20L&empty=',
      queryStringParameters: { b: '2,3', a: '1', name: 'Ada L', empty: '' },
      cookies: ['a=1', 'b=2'],
      headers: {
        host: 'api.example.com',
        'content-type': 'application/json',
        'content-length': '15',
        'user-agent': 'tests/1',
        'x-tag': 'one,two',
        'x-forwarded-for': '127.0.0.1',
        'x-forwarded-proto': 'http',
      },
      requestContext: {
        accountId: '000000000000',
        apiId: 'local',
        domainName: 'api.example.com',
        domainPrefix: 'local',
        http: {
          method: 'POST',
          path: '/echo',
          protocol: 'HTTP/1.1',
          sourceIp: '127.0.0.1',
          userAgent: 'tests/1',
        },
        requestId: expect.any(String),
        routeKey: 'POST /echo',
        stage: '$default',
        time: expect.stringMatching(/^\d\d\/[A-Z][a-z]{2}\/\d{4}:\d\d:\d\d:\d\d \+0000$/),
        timeEpoch: expect.any(Number),
      },
      body,
      isBase64Encoded: false,
    });
  });

  test('leaves query, cookies and body out of the event where there are none', async () => {
    const event = await sent('/echo', []);
    expect(event).toMatchObject({ rawQueryString: '', isBase64Encoded: false });
    expect(event).not.toHaveProperty('queryStringParameters');
    expect(event).not.toHaveProperty('cookies');
    expect(event).not.toHaveProperty('body');
  });

  test.each([
    ['application/octet-stream', Buffer.from([0, 255, 128, 10])],
    ['application/x-www-form-urlencoded', Buffer.from('a=1&b=2')],
    ['multipart/form-data; boundary=x', Buffer.from('--x--')],
  ])('hands %s on in base64', async (type, body) => {
    const event = await sent('/echo', ['Content-Type', type, 'Content-Length', `${body.length}`], body);
    expect(event).toMatchObject({ body: body.toString('base64'), isBase64Encoded: true });
  });

  test.each(['text/plain', 'application/json; charset=utf-8', 'application/problem+json'])(
    'hands %s on as text',
    async (type) => {
      const body = Buffer.from('"æ"');
      const event = await sent('/echo', ['Content-Type', type, 'Content-Length', `${body.length}`], body);
      expect(event).toMatchObject({ body: '"æ"', isBase64Encoded: false });
    },
  );

  test('turns a result with a status into status, headers, cookies and body', async () => {
    const answer = await post(
      '/answer',
      JSON.stringify({
        statusCode: 201,
        headers: { 'Content-Type': 'text/csv', 'X-Count': 3 },
        cookies: ['a=1; Secure', 'b=2'],
        body: 'x,y',
      }),
    );
    expect(answer.status).toBe(201);
    expect(answer.headers.get('content-type')).toBe('text/csv');
    expect(answer.headers.get('x-count')).toBe('3');
    expect(answer.headers.getSetCookie()).toEqual(['a=1; Secure', 'b=2']);
    expect(answer.headers.get('apigw-requestid')).toEqual(expect.any(String));
    expect(await answer.text()).toBe('x,y');
  });

  test('decodes a base64 body of a result', async () => {
    const bytes = Buffer.from([0, 255, 128, 10]);
    const answer = await post(
      '/answer',
      JSON.stringify({ statusCode: 200, body: bytes.toString('base64'), isBase64Encoded: true }),
    );
    expect(Buffer.from(await answer.arrayBuffer())).toEqual(bytes);
  });

  test('takes a result without a status as the body of a 200', async () => {
    const answer = await post('/answer', '{"charged":true}');
    expect(answer.status).toBe(200);
    expect(answer.headers.get('content-type')).toBe('application/json');
    expect(await answer.text()).toBe('{"charged":true}');
    expect(await (await post('/answer', '"plain"')).text()).toBe('plain');
    expect(await (await get('/nothing')).text()).toBe('null');
  });

  test.each([
    ['a status that is none', { statusCode: 'great' }],
    ['a body that is no text', { statusCode: 200, body: { a: 1 } }],
    ['cookies that are no list', { statusCode: 200, cookies: 'a=1' }],
  ])('answers 500 to %s', async (_, result) => {
    expect((await post('/answer', JSON.stringify(result))).status).toBe(500);
  });

  test('answers 404 for a path that is not described', async () => {
    const answer = await get('/elsewhere');
    expect(answer.status).toBe(404);
    expect(await answer.json()).toEqual({ message: 'Not Found' });
  });
});
