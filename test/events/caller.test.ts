import type { Context } from 'aws-lambda';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { type HttpResponse, type IdempotentOptions, idempotent } from '../../lib/index.ts';
import { deferred } from '../support/hands.ts';
import {
  albEvent,
  albMultiValueEvent,
  functionUrlEvent,
  type HttpEvent,
  type HttpRequest,
  httpApiEvent,
  restEvent,
} from '../support/http-events.ts';
import { lambdaContext } from '../support/invocation.ts';
import { type RecordingStore, recordingStore } from '../support/recording-store.ts';

type Options<Event> = Omit<IdempotentOptions<Event>, 'store'> & { readonly store?: RecordingStore };

/** A guarded handler that counts its runs and answers with their number. */
function counting<Event = unknown>({ store = recordingStore(), ...options }: Options<Event> = {}) {
  const handler = vi.fn(async (_event: Event, _context: Context): Promise<unknown> => {
    return { statusCode: 200, body: String(handler.mock.calls.length) };
  });
  return { handler, store, call: idempotent(handler, { store, ...options } as IdempotentOptions) };
}

const keyed = (request: HttpRequest = {}): HttpRequest => ({
  ...request,
  headers: [['Idempotency-Key', 'key-1'], ...(request.headers ?? [])],
});
const rest = (request: HttpRequest) => restEvent(keyed(request));
const httpApi = (request: HttpRequest) => httpApiEvent(keyed(request));

const iamUser = (name: string) => `arn:aws:iam::123456789012:user/${name}`;
const session = (role: string, name: string) => `arn:aws:sts::123456789012:assumed-role/${role}/${name}`;
const claims = (sub: string, iss = 'https://idp.example.com', more = {}) => ({ sub, iss, ...more });

describe('callers with the same key', () => {
  it.each<[string, HttpEvent, HttpEvent]>([
    [
      'two subjects of a JWT',
      httpApi({ authorizer: { jwt: { claims: claims('ann'), scopes: null } } }),
      httpApi({ authorizer: { jwt: { claims: claims('bob'), scopes: null } } }),
    ],
    [
      'one subject of two issuers',
      httpApi({ authorizer: { jwt: { claims: claims('ann') } } }),
      httpApi({ authorizer: { jwt: { claims: claims('ann', 'https://other.example.com') } } }),
    ],
    [
      'two users of a Cognito pool',
      rest({ authorizer: { claims: claims('ann') } }),
      rest({ authorizer: { claims: claims('bob') } }),
    ],
    [
      'two Cognito identities under one role, in a REST API',
      rest({ identity: { cognitoIdentityId: 'eu-west-1:1', userArn: session('app', 'CognitoIdentity') } }),
      rest({ identity: { cognitoIdentityId: 'eu-west-1:2', userArn: session('app', 'CognitoIdentity') } }),
    ],
    [
      'two Cognito identities under one role, in an HTTP API',
      httpApi({
        authorizer: { iam: { cognitoIdentity: { identityId: 'eu-west-1:1' }, userArn: iamUser('a') } },
      }),
      httpApi({
        authorizer: { iam: { cognitoIdentity: { identityId: 'eu-west-1:2' }, userArn: iamUser('a') } },
      }),
    ],
    [
      'two IAM users, in a REST API',
      rest({ identity: { userArn: iamUser('ann') } }),
      rest({ identity: { userArn: iamUser('bob') } }),
    ],
    [
      'two IAM users, at a Function URL',
      functionUrlEvent(keyed({ authorizer: { iam: { userArn: iamUser('ann') } } })),
      functionUrlEvent(keyed({ authorizer: { iam: { userArn: iamUser('bob') } } })),
    ],
    [
      'two IAM users whose names begin alike',
      rest({ identity: { userArn: iamUser('team/ann') } }),
      rest({ identity: { userArn: iamUser('team/bob') } }),
    ],
    [
      'two roles with sessions of one name',
      rest({ identity: { userArn: session('shop', 'session') } }),
      rest({ identity: { userArn: session('bank', 'session') } }),
    ],
    [
      'two principals of a Lambda authorizer, in a REST API',
      rest({ authorizer: { principalId: 'ann', integrationLatency: 5 } }),
      rest({ authorizer: { principalId: 'bob', integrationLatency: 5 } }),
    ],
    [
      'two principals of a Lambda authorizer, in an HTTP API',
      httpApi({ authorizer: { lambda: { principalId: 'ann' } } }),
      httpApi({ authorizer: { lambda: { principalId: 'bob' } } }),
    ],
    [
      'two API keys',
      rest({ identity: { apiKey: 'secret-1', apiKeyId: '1' } }),
      rest({ identity: { apiKey: 'secret-2', apiKeyId: '2' } }),
    ],
    [
      'a subject and a principal of one name',
      rest({ authorizer: { claims: claims('ann', '') } }),
      rest({ authorizer: { principalId: 'ann' } }),
    ],
    [
      'a principal and an API key of one name',
      rest({ authorizer: { principalId: '1' } }),
      rest({ identity: { apiKeyId: '1' } }),
    ],
    ['one who is known and one who is not', rest({ authorizer: { principalId: 'ann' } }), rest({})],
  ])('are two: %s', async (_, ann, bob) => {
    const { call, handler, store } = counting();
    expect(await call(ann)).toEqual({ statusCode: 200, body: '1' });
    expect(await call(bob)).toEqual({ statusCode: 200, body: '2' });
    expect(await call(ann)).toMatchObject({ body: '1' });
    expect(await call(bob)).toMatchObject({ body: '2' });
    expect(handler).toHaveBeenCalledTimes(2);
    expect(store.operations).toHaveLength(2);
  });

  it.each<[string, HttpEvent, HttpEvent]>([
    [
      'a JWT that was renewed meanwhile',
      httpApi({ authorizer: { jwt: { claims: claims('ann', 'https://idp.example.com', { exp: '1' }) } } }),
      httpApi({ authorizer: { jwt: { claims: claims('ann', 'https://idp.example.com', { exp: '2' }) } } }),
    ],
    [
      'two sessions of one role, in a REST API',
      rest({ identity: { userArn: session('shop', 'i-0001') } }),
      rest({ identity: { userArn: session('shop', 'i-0002') } }),
    ],
    [
      'two sessions of one role, in an HTTP API',
      httpApi({ authorizer: { iam: { userArn: session('shop', 'a@b.c') } } }),
      httpApi({ authorizer: { iam: { userArn: session('shop', 'b@b.c') } } }),
    ],
    [
      'a principal whose other context changes',
      rest({ authorizer: { principalId: 'ann', plan: 'free', integrationLatency: 5 } }),
      rest({ authorizer: { principalId: 'ann', plan: 'paid', integrationLatency: 9 } }),
    ],
    [
      'a subject, before the API key',
      rest({ authorizer: { claims: claims('ann') }, identity: { apiKeyId: '1' } }),
      rest({ authorizer: { claims: claims('ann') }, identity: { apiKeyId: '2' } }),
    ],
    [
      'a subject, before the principal',
      rest({ authorizer: { claims: claims('ann'), principalId: '1' } }),
      rest({ authorizer: { claims: claims('ann'), principalId: '2' } }),
    ],
    [
      'a Cognito identity, before the IAM user',
      rest({ identity: { cognitoIdentityId: 'eu-west-1:1', userArn: iamUser('a') } }),
      rest({ identity: { cognitoIdentityId: 'eu-west-1:1', userArn: iamUser('b') } }),
    ],
    [
      'an IAM user, before the principal',
      rest({ identity: { userArn: iamUser('a') }, authorizer: { principalId: '1' } }),
      rest({ identity: { userArn: iamUser('a') }, authorizer: { principalId: '2' } }),
    ],
    [
      'a principal, before the API key',
      rest({ authorizer: { principalId: 'ann' }, identity: { apiKeyId: '1' } }),
      rest({ authorizer: { principalId: 'ann' }, identity: { apiKeyId: '2' } }),
    ],
    [
      'an address that changes',
      rest({ identity: { sourceIp: '192.0.2.1', userAgent: 'a', accessKey: '1' } }),
      rest({ identity: { sourceIp: '192.0.2.2', userAgent: 'b', accessKey: '2' } }),
    ],
  ])('are one: %s', async (_, once, again) => {
    const { call, handler } = counting();
    await call(once);
    expect(await call(again)).toMatchObject({ body: '1' });
    expect(handler).toHaveBeenCalledTimes(1);
  });

  it('cannot choose who they are by anything that they send', async () => {
    const forged: HttpRequest = {
      headers: [
        ['X-Amzn-Oidc-Identity', 'bob'],
        ['X-Tenant-Id', 'bob'],
        ['X-Forwarded-For', '192.0.2.9'],
        ['Authorization', 'Bearer bob'],
        ['X-Api-Key', 'bob'],
      ],
      query: 'sub=bob&principalId=bob&tenant=bob',
      body: '{"sub":"bob","principalId":"bob","requestContext":{"authorizer":{"principalId":"bob"}}}',
    };
    for (const event of [rest, httpApi]) {
      const lambda = (principalId: string) =>
        event === rest ? { principalId } : { lambda: { principalId } };
      const { call, handler } = counting({ fingerprint: false });
      await call(event({ authorizer: lambda('bob') }));
      await call(event({ authorizer: lambda('ann') }));
      expect(await call(event({ ...forged, authorizer: lambda('ann') }))).toMatchObject({ body: '2' });
      expect(handler).toHaveBeenCalledTimes(2);
    }
  });

  it('learn nothing of each other: no answer, no conflict, no mismatch', async () => {
    const annIsDone = deferred<HttpResponse>();
    const handler = vi.fn(async (event: HttpEvent): Promise<HttpResponse> => {
      const { authorizer } = event.requestContext as { authorizer: { principalId: string } };
      return authorizer.principalId === 'ann' ? annIsDone.promise : { statusCode: 201, body: 'for bob' };
    });
    const call = idempotent(handler, { store: recordingStore() });
    const from = (principalId: string, body: string) => rest({ authorizer: { principalId }, body });

    const ann = call(from('ann', 'a'));
    expect(await call(from('bob', 'a'))).toEqual({ statusCode: 201, body: 'for bob' });
    annIsDone.resolve({ statusCode: 201, body: 'for ann' });
    await ann;
    expect(await call(from('bob', 'other'))).toMatchObject({ statusCode: 422 });
    expect(await call(from('eve', 'other'))).toEqual({ statusCode: 201, body: 'for bob' });
    expect(await call(from('ann', 'a'))).toMatchObject({ body: 'for ann' });
    expect(handler).toHaveBeenCalledTimes(3);
  });

  it('are not told apart by what stands in a load balancer’s event in the place of an authorizer', async () => {
    const forged = (name: string) => {
      for (const make of [albEvent, albMultiValueEvent]) {
        const event = make(keyed());
        const requestContext = {
          ...(event.requestContext as object),
          authorizer: {
            principalId: name,
            claims: claims(name),
            jwt: { claims: claims(name) },
            lambda: { principalId: name },
            iam: { userArn: iamUser(name) },
          },
          identity: { userArn: iamUser(name), cognitoIdentityId: name, apiKeyId: name },
        };
        events.push({ ...event, requestContext });
      }
    };
    const events: HttpEvent[] = [albEvent(keyed())];
    for (const name of ['ann', 'bob']) forged(name);
    // It has authenticated nobody, so it is not refused for want of an identity either.
    events.push({ ...albEvent(keyed()), requestContext: { elb: {}, authorizer: {} } });
    const { call, handler, store } = counting();
    for (const event of events) expect(await call(event)).toMatchObject({ body: '1' });
    expect(handler).toHaveBeenCalledTimes(1);
    expect(store.operations).toHaveLength(1);
  });

  it('are one where the API is open', async () => {
    for (const event of [restEvent, httpApiEvent, functionUrlEvent, albEvent]) {
      const { call, handler } = counting();
      await call(event(keyed()));
      await call(event(keyed()));
      expect(handler).toHaveBeenCalledTimes(1);
    }
  });

  it('are one on an open route of an HTTP API with payload format 1.0', async () => {
    const event = { ...rest({ authorizer: { claims: null, scopes: null } }), version: '1.0' };
    const { call, handler } = counting<HttpEvent>();
    expect(await call(event)).toMatchObject({ body: '1' });
    expect(await call(event)).toMatchObject({ body: '1' });
    expect(handler).toHaveBeenCalledTimes(1);
  });
});

describe('an authorizer that leaves no identity', () => {
  it.each<[string, HttpEvent]>([
    ['a context without `principalId`', httpApi({ authorizer: { lambda: { customerId: 'c-1' } } })],
    ['an empty `principalId`', rest({ authorizer: { principalId: '' } })],
    ['only its latency', rest({ authorizer: { integrationLatency: 5 } })],
    [
      'a context without `principalId`, beside an API key that all users of an app share',
      rest({ authorizer: { customerId: 'c-1', integrationLatency: 5 }, identity: { apiKeyId: '1' } }),
    ],
    [
      'a JWT without subject, beside an API key',
      rest({ authorizer: { claims: { scope: 'read' } }, identity: { apiKeyId: '1' } }),
    ],
    ['an empty context beside an API key', rest({ authorizer: {}, identity: { apiKeyId: '1' } })],
    ['a JWT without subject', httpApi({ authorizer: { jwt: { claims: { scope: 'read' } } } })],
    [
      'a context without `principalId`, beside the claims that no JWT has left',
      { ...rest({ authorizer: { claims: null, scopes: null, customerId: 'c-1' } }), version: '1.0' },
    ],
    ['claims of nobody in a REST API', rest({ authorizer: { claims: null, scopes: null } })],
    ['a JWT with an empty subject', rest({ authorizer: { claims: claims('') } })],
    ['an IAM context without ARN', httpApi({ authorizer: { iam: { accessKey: 'AKIA' } } })],
    ['a principal in the place of the other payload format', httpApi({ authorizer: { principalId: 'ann' } })],
  ])('is refused before any call to the store, with the fix: %s', async (_, event) => {
    const { call, handler, store } = counting();
    await expect(call(event)).rejects.toMatchObject({
      code: 'MISSING_TENANT',
      message:
        'The authorizer left no identity (no `sub`, no `principalId`), so callers could not be told apart. Return a `principalId` in its context, or give the option `tenant`, e.g. `tenant: (event) => event.requestContext.authorizer.lambda.customerId`.',
    });
    expect(handler).not.toHaveBeenCalled();
    expect(store.calls).toEqual([]);
  });

  it('is fine where the option `tenant` tells the callers apart', async () => {
    const { call, handler } = counting<HttpEvent>({
      tenant: (event) =>
        (event.requestContext as { authorizer: { lambda: { customerId: string } } }).authorizer.lambda
          .customerId,
    });
    const from = (customerId: string) => httpApi({ authorizer: { lambda: { customerId } } });
    for (const event of [from('1'), from('2'), from('1')]) await call(event);
    expect(handler).toHaveBeenCalledTimes(2);
  });

  it('does not matter for requests that pass through', async () => {
    const { call, handler } = counting();
    await call(rest({ method: 'GET', authorizer: {} }));
    expect(handler).toHaveBeenCalledTimes(1);
  });
});

describe('an Authorization header that no authorizer has checked', () => {
  afterEach(() => {
    vi.restoreAllMocks();
  });

  /** The package as a new process has it, which has warned of nothing yet. */
  async function fresh() {
    vi.resetModules();
    const warn = vi.spyOn(console, 'warn').mockImplementation(() => {});
    return { warn, ...(await import('../../lib/index.ts')), ...(await import('../../lib/testing.ts')) };
  }
  const bearer: HttpRequest = { headers: [['Authorization', 'Bearer secret-token']] };

  it('is warned about once, without the token', async () => {
    const { warn, ...lib } = await fresh();
    for (let guard = 0; guard < 2; guard++) {
      const call = lib.idempotent(async () => 'done', { store: lib.memoryStore() });
      await call(rest(bearer));
      await call(httpApi({ headers: [['authorization', 'Basic secret-token']], body: 'other' }));
    }
    expect(warn.mock.calls).toEqual([
      [
        '[idemkit] No authorizer names the sender of an Authorization header, so all callers share keys. Add one, or give the option `tenant`.',
      ],
    ]);
  });

  it('is not warned about where callers are told apart, nor where there is none', async () => {
    const { warn, ...lib } = await fresh();
    const call = lib.idempotent(async () => 'done', { store: lib.memoryStore() });
    await call(rest({ ...bearer, authorizer: { principalId: 'ann' } }));
    await call(rest({}));
    await call(restEvent({ ...bearer, method: 'GET' }));
    await lib.idempotent(async () => 'done', { store: lib.memoryStore(), tenant: () => 'ann' })(rest(bearer));
    expect(warn).not.toHaveBeenCalled();
  });
});

describe('the option `tenant`', () => {
  it.each<[string, unknown]>([
    ['undefined', undefined],
    ['null', null],
    ['an empty text', ''],
    ['blanks', ' \t'],
    ['a number', 7],
    ['a promise', Promise.resolve('ann')],
  ])('fails closed when it returns %s', async (_, tenant) => {
    const { call, handler, store } = counting({ key: () => 'k', tenant: () => tenant as string });
    await expect(call({})).rejects.toMatchObject({
      code: 'MISSING_TENANT',
      message: expect.stringMatching(/^Option `tenant` returned .+\. Return who is calling/),
    });
    await expect(call(rest({}))).rejects.toMatchObject({ code: 'MISSING_TENANT' });
    expect(handler).not.toHaveBeenCalled();
    expect(store.calls).toEqual([]);
  });

  it('names what it returned, as one reads it', async () => {
    const messageFor = (tenant: unknown) =>
      counting({ key: () => 'k', tenant: () => tenant as string })
        .call({})
        .catch((error: Error) => error.message);
    expect(await messageFor('')).toContain('Option `tenant` returned a blank string.');
    expect(await messageFor(undefined)).toContain('Option `tenant` returned undefined.');
    expect(await messageFor(null)).toContain('Option `tenant` returned null.');
    expect(await messageFor(Promise.resolve('a'))).toContain('Option `tenant` returned a promise.');
    expect(await messageFor({})).toContain('Option `tenant` returned an object.');
  });

  it('decides instead of the authorizer, given event and context', async () => {
    const tenant = vi.fn((_event: HttpEvent, _context: unknown) => 'one');
    const { call, handler } = counting({ tenant });
    const context = lambdaContext(1_000);
    const ann = rest({ authorizer: { principalId: 'ann' } });
    await call(ann, context);
    await call(rest({ authorizer: { principalId: 'bob' } }));
    expect(handler).toHaveBeenCalledTimes(1);
    expect(tenant.mock.calls[0]).toEqual([ann, context]);
  });

  it('that throws stops the call with its own error', async () => {
    const { call, handler, store } = counting({
      key: () => 'k',
      tenant: () => {
        throw new Error('no session');
      },
    });
    await expect(call({})).rejects.toThrow('no session');
    expect(handler).not.toHaveBeenCalled();
    expect(store.calls).toEqual([]);
  });
});
