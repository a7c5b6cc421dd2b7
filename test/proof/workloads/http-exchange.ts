/** Calls over HTTP: the events of the services, with callers that an authorizer has named, and answers as clients read them. */
import { IdempotencyError, type IdempotentOptions } from '../../../lib/index.ts';
import { albEvent, httpEventV1, httpEventV2 } from '../../../lib/testing.ts';
import { httpAnswers } from '../auditors/http.ts';
import { invocation } from '../simulation/sandbox.ts';
import type { World } from '../simulation/world.ts';
import type { Job } from './job.ts';

export type HttpFormat = 'v1' | 'v2' | 'alb';

interface Response {
  readonly statusCode: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body: string;
}

interface Body {
  /** Of a handler's answer. */
  readonly execution?: string;
  readonly commits?: string;
  /** Of problem details, and of what `told` makes. */
  readonly code?: string;
  readonly isTold?: boolean;
  readonly details?: ConstructorParameters<typeof IdempotencyError>[2];
  /** Of Stripe's errors. */
  readonly error?: { readonly code?: string; readonly type?: string };
}

export type ErrorProfile = 'problem' | 'stripe' | 'told';

/** How the calls of one run go over HTTP. */
export class HttpExchange {
  readonly #world: World;
  readonly #format: HttpFormat;
  readonly #profile: ErrorProfile;

  constructor(world: World, format: HttpFormat, profile: ErrorProfile) {
    this.#world = world;
    this.#format = format;
    this.#profile = profile;
  }

  get options(): IdempotentOptions {
    return {
      // A load balancer names nobody.
      ...(this.#format === 'alb' && { tenant: (event: { headers: Headers }) => event.headers['x-tenant'] }),
      http: {
        errors: this.#profile === 'told' ? told : this.#profile,
        answerHeaders: () => ({ 'access-control-allow-origin': '*' }),
      },
    };
  }

  event({ tenant, key, payload }: Job): object {
    const request = {
      path: '/orders',
      headers: { 'X-Tenant': tenant },
      idempotencyKey: key,
      body: { tenant, key, payload },
    };
    const claims = { iss: issuer, sub: tenant };
    switch (this.#format) {
      case 'alb':
        return albEvent(request);
      case 'v1':
        return httpEventV1({ ...request, authorizer: { claims } });
      case 'v2':
        return httpEventV2({ ...request, authorizer: { jwt: { claims, scopes: [] } } });
    }
  }

  /** @throws what the answer refuses the call with */
  read(answer: unknown): unknown {
    const { statusCode: status, headers = {}, body } = answer as Response;
    const header = (name: string) => Object.entries(headers).find(([one]) => one.toLowerCase() === name)?.[1];
    const said = parsed(body);
    const { execution, code = said.error?.code ?? said.error?.type } = said;
    this.#world.history.facts(httpAnswers).push({
      ...{ call: invocation.getStore()!.call!, profile: this.#profile, status, execution, code },
      isCommitted: said.commits !== undefined,
      retryAfter: header('retry-after'),
      isReplayed: header('idempotent-replayed') === 'true',
      isForBrowsers: header('access-control-allow-origin') === '*',
      cookie: header('set-cookie'),
      added: header('x-added'),
    });
    if (execution !== undefined) return said;
    throw said.isTold
      ? new IdempotencyError(said.code as IdempotencyError['code'], 'Told over HTTP.', said.details)
      : Object.assign(new Error(`HTTP ${status}`), { code: codeOf(code) });
  }
}

type Headers = Readonly<Record<string, string>>;

const issuer = 'issuer';

/** A caller's name, as a guard behind a gateway has it. */
export const callerNamed = (subject: string): string => JSON.stringify(['jwt', issuer, subject]);

/** A handler's answer over HTTP. One that is not to be remembered says so by its status. */
export const httpAnswer = (answer: {
  readonly execution: string;
  readonly isPassing?: boolean;
}): Response => ({
  statusCode: answer.isPassing ? 503 : 201,
  headers: { 'content-type': 'application/json', 'set-cookie': `session=${answer.execution}` },
  body: JSON.stringify(answer),
});

/** A refusal that tells all it knows, as an API may do. */
const told = ({ code, effect, record, retryAfterSeconds }: IdempotencyError): Response => ({
  statusCode: { PAYLOAD_MISMATCH: 422, RESULT_UNAVAILABLE: 410 }[code as string] ?? 409,
  body: JSON.stringify({ isTold: true, code, details: { effect, record, retryAfterSeconds } }),
});

/** Stripe has one code for all misuse: which it was, its clients do not learn. */
const codeOf = (code: string | undefined): string | undefined =>
  code === 'idempotency_error' ? 'PAYLOAD_MISMATCH' : code;

function parsed(body: string): Body {
  try {
    return JSON.parse(body) as Body;
  } catch {
    return {};
  }
}
