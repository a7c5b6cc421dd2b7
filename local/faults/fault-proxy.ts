import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import {
  Agent,
  createServer,
  request as httpRequest,
  type IncomingMessage,
  type ServerResponse,
} from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Listening, listen } from '../listen.ts';

/**
 * What happens to a request.
 *
 * - `'drop-before'`: the connection breaks, the service never sees the request.
 * - `'drop-after'`: the service applies the request, then the connection breaks: a lost response.
 * - `'hang'`: never an answer, the service never sees the request; ends with the client's patience or `stop()`.
 * - `{ delayMs }`: forwarded late, even when the client has given up meanwhile.
 * - `{ delayAfterMs }`: applied at once, answered late.
 * - `'cut'`: the service applies the request, and the connection breaks in the middle of the answer.
 * - `{ repeatAfterMs }`: applied and answered; so long after that, the same request reaches the service once more.
 * - `{ status, type }`: an error in the format of the service that was asked, without forwarding: 500
 *   `InternalServerError`, 400 `ThrottlingException`, `ReplicatedWriteConflictException`, … `fields` are further
 *   members of the error, such as `CancellationReasons`.
 */
export type Fault =
  | 'drop-before'
  | 'drop-after'
  | 'hang'
  | 'cut'
  | { readonly repeatAfterMs: number }
  | { readonly delayMs: number }
  | { readonly delayAfterMs: number }
  | {
      readonly status: number;
      readonly type: string;
      readonly message?: string;
      readonly fields?: Readonly<Record<string, unknown>>;
    };

export interface Rule {
  /**
   * An operation's name: `PutItem`, `TransactWriteItems`, `SendMessage`, `Publish`, `POST /charges`, …
   *
   * @default every operation
   */
  readonly operation?: string;
  /**
   * Looks into the request.
   *
   * @default every request
   */
  readonly match?: (request: ProxiedRequest) => boolean;
  readonly fault: Fault;
  /**
   * How many requests get the fault; `Infinity` for all.
   *
   * @default 1
   */
  readonly times?: number;
  /**
   * How many matching requests go through first.
   *
   * @default 0
   */
  readonly skip?: number;
}

/** What was sent or answered. Which members it has is between the caller and the service. */
// biome-ignore lint/suspicious/noExplicitAny: every operation of every service has another shape.
export type JsonObject = Record<string, any>;

/** A request as it came in. The members that are not readonly change while it proceeds. */
export interface ProxiedRequest {
  /** `PutItem`, `SendMessage`, `Publish`, …; method and path when it is no request to AWS. */
  readonly operation: string;
  /** The name of the endpoint that it came in through. Absent for the shared endpoint. */
  readonly caller?: string;
  /** The access key id that it claims to be signed with. Nobody checks the signature. */
  readonly accessKeyId?: string;
  readonly body: JsonObject;
  readonly startedAtMs: number;
  /** Absent as long as the request is under way. */
  endedAtMs?: number;
  /** `faulted`: the client did not get the service's answer. A delayed answer counts as `forwarded`. */
  outcome: 'forwarded' | 'faulted';
  /** The service's answer, also one that the client never saw (`drop-after`), or the injected error. */
  status?: number;
  response?: JsonObject;
  /** What happened to it on purpose. */
  fault?: Fault;
  /** The kill point that it has reached. */
  struck?: Strike['when'];
  /** Set for the second one of `{ repeatAfterMs }`, whose answer nobody gets. */
  readonly isRepeat?: true;
}

/** A kill point that a request has reached. */
export interface Strike {
  /** Before it is forwarded, which it then never is; or after it was applied, and its answer is lost. */
  readonly when: 'before' | 'after';
  kill(): void;
}

export interface ServiceAnswer {
  readonly status: number;
  /** Names and values in turn. */
  readonly rawHeaders: readonly string[];
  readonly bytes: Buffer;
}

export interface FaultProxyOptions {
  /** May answer just before a request is forwarded, with a refusal that the service itself does not know. */
  readonly answerFor?: (request: ProxiedRequest) => ServiceAnswer | undefined;
  /** Asked about every request as it comes in, before any rule is. */
  readonly strike?: (request: ProxiedRequest) => Strike | undefined;
}

export interface FaultProxy {
  /** Base URL for a client. */
  readonly endpoint: string;
  /** A further endpoint, whose requests carry the caller's name. The same one for the same name. */
  endpointFor(caller: string): Promise<string>;
  /** Every request so far, in the order of arrival: each attempt of a client is one. Live. */
  readonly requests: readonly ProxiedRequest[];
  /**
   * Adds a rule. The first rule that has a fault for a request decides; later rules do not count that request.
   *
   * @throws TypeError for negative or fractional `times` and `skip`
   */
  inject(rule: Rule): void;
  /**
   * Asks about every request that no rule has a fault for; returns the way to stop that. One at a time.
   * Unlike rules, it outlives `reset()`.
   */
  disturb(faultFor: (request: ProxiedRequest) => Fault | undefined): () => void;
  /** Resolves once every fault that has begun is over: no request is late, and none is still to be repeated. */
  calm(): Promise<void>;
  /** Forgets rules and requests. Requests under way keep their fault. */
  reset(): void;
  /** Calls back whenever a request has ended; returns the way to stop that. */
  onRequest(listener: (request: ProxiedRequest) => void): () => void;
  /** Breaks all connections and ends. */
  stop(): Promise<void>;
}

/**
 * Puts an HTTP proxy in front of DynamoDB, of queues or of any HTTP server, that loses, delays and refuses chosen
 * requests. Everything else passes unchanged, byte by byte.
 *
 * @throws TypeError when the endpoint is not plain HTTP: a signed request to AWS does not survive a proxy
 */
export async function startFaultProxy(
  targetEndpoint: string,
  options: FaultProxyOptions = {},
): Promise<FaultProxy> {
  const target = new URL(targetEndpoint);
  if (target.protocol !== 'http:') {
    throw new TypeError(`Expected an http:// endpoint such as DynamoDB Local's, got '${targetEndpoint}'`);
  }

  // Idle connections must go before DynamoDB Local closes them, or a request could run into the closing one.
  const agent = new Agent({ keepAlive: true, timeout: 5_000 });
  const stopping = new AbortController();
  const requests: ProxiedRequest[] = [];
  const listeners = new Set<(request: ProxiedRequest) => void>();
  let rules: { rule: Rule; skip: number; times: number }[] = [];
  let disturbing: ((request: ProxiedRequest) => Fault | undefined) | undefined;
  const begun = new Set<Promise<void>>();

  async function untilOver(work: Promise<void>): Promise<void> {
    begun.add(work);
    try {
      await work;
    } finally {
      begun.delete(work);
    }
  }

  function faultFor(request: ProxiedRequest): Fault | undefined {
    for (const entry of rules) {
      const { operation, match, fault } = entry.rule;
      if (entry.times === 0) continue;
      if (operation !== undefined && operation !== request.operation) continue;
      if (match !== undefined && !match(request)) continue;
      if (entry.skip > 0) {
        entry.skip--;
        continue;
      }
      entry.times--;
      return fault;
    }
    return disturbing?.(request);
  }

  async function handle(
    message: IncomingMessage,
    answer: ServerResponse,
    caller: string | undefined,
  ): Promise<void> {
    const bytes = await read(message);
    const body = parse(bytes, message.headers['content-type']) ?? {};
    const request: ProxiedRequest = {
      operation: operationOf(message, body),
      body,
      ...(caller !== undefined && { caller }),
      ...signedBy(message),
      startedAtMs: Date.now(),
      outcome: 'forwarded',
    };
    requests.push(request);
    try {
      const strike = options.strike?.(request);
      if (strike !== undefined) {
        request.struck = strike.when;
        await killAround(request, strike, message, bytes, answer);
        return;
      }
      const fault = faultFor(request);
      const proceeding = proceed(request, fault, message, bytes, answer);
      if (fault === undefined) {
        await proceeding;
      } else {
        request.fault = fault;
        await untilOver(proceeding);
      }
    } catch (error) {
      request.outcome = 'faulted';
      throw error;
    } finally {
      end(request);
    }
  }

  function end(request: ProxiedRequest): void {
    request.endedAtMs = Date.now();
    for (const listener of listeners) listener(request);
  }

  /** Errors are the repeat's own: whoever sent the request has its answer, and waits for nothing. */
  async function repeat(
    { operation, body, caller, accessKeyId }: ProxiedRequest,
    afterMs: number,
    message: IncomingMessage,
    bytes: Buffer,
  ): Promise<void> {
    await sleep(afterMs, undefined, { signal: stopping.signal });
    const request: ProxiedRequest = {
      ...{ operation, body },
      ...(caller !== undefined && { caller }),
      ...(accessKeyId !== undefined && { accessKeyId }),
      startedAtMs: Date.now(),
      outcome: 'faulted',
      isRepeat: true,
    };
    requests.push(request);
    try {
      await forward(request, message, bytes);
    } finally {
      end(request);
    }
  }

  async function killAround(
    request: ProxiedRequest,
    strike: Strike,
    message: IncomingMessage,
    bytes: Buffer,
    answer: ServerResponse,
  ): Promise<void> {
    request.outcome = 'faulted';
    if (strike.when === 'after') {
      await forward(request, message, bytes);
    }
    strike.kill();
    answer.destroy();
  }

  async function proceed(
    request: ProxiedRequest,
    fault: Fault | undefined,
    message: IncomingMessage,
    bytes: Buffer,
    answer: ServerResponse,
  ): Promise<void> {
    if (fault === 'drop-before') {
      request.outcome = 'faulted';
      answer.destroy();
      return;
    }
    if (fault === 'hang') {
      request.outcome = 'faulted';
      if (!answer.destroyed) await once(answer, 'close');
      return;
    }
    if (typeof fault === 'object' && 'status' in fault) {
      request.outcome = 'faulted';
      request.status = fault.status;
      refuse(request, fault, message, answer);
      return;
    }

    if (fault === 'drop-after' || fault === 'cut') request.outcome = 'faulted';
    if (typeof fault === 'object' && 'delayMs' in fault) {
      await sleep(fault.delayMs, undefined, { signal: stopping.signal });
    }
    const upstream = await forward(request, message, bytes);
    if (fault === 'drop-after') {
      answer.destroy();
      return;
    }
    if (typeof fault === 'object' && 'delayAfterMs' in fault) {
      await sleep(fault.delayAfterMs, undefined, { signal: stopping.signal });
    }
    if (typeof fault === 'object' && 'repeatAfterMs' in fault) {
      untilOver(repeat(request, fault.repeatAfterMs, message, bytes)).catch(() => {});
    }
    answer.sendDate = false;
    answer.writeHead(upstream.status, [...upstream.rawHeaders]);
    if (fault === 'cut') {
      answer.write(upstream.bytes.subarray(0, upstream.bytes.length / 2), () => answer.destroy());
      return;
    }
    answer.end(upstream.bytes);
  }

  async function forward(
    request: ProxiedRequest,
    message: IncomingMessage,
    bytes: Buffer,
  ): Promise<ServiceAnswer> {
    const answer = options.answerFor?.(request) ?? (await ask(message, bytes));
    request.status = answer.status;
    request.response = parse(answer.bytes);
    return answer;
  }

  async function ask(message: IncomingMessage, bytes: Buffer): Promise<ServiceAnswer> {
    const outgoing = httpRequest({
      agent,
      hostname: target.hostname,
      port: target.port || 80,
      path: message.url,
      method: message.method,
      headers: message.rawHeaders,
    });
    // `atMostOnce` reports an error that comes instead of the answer; one that comes later must not end the process.
    outgoing.on('error', () => {});
    outgoing.end(bytes);
    const [incoming] = (await once(outgoing, 'response')) as [IncomingMessage];
    return {
      status: incoming.statusCode!,
      rawHeaders: incoming.rawHeaders,
      bytes: await read(incoming),
    };
  }

  const doors: Listening[] = [];

  async function openDoor(caller?: string): Promise<string> {
    const server = createServer((message, answer) => {
      handle(message, answer, caller).catch((error) => {
        // A broken connection, or a rule's or listener's own mistake: the client sees a broken connection.
        answer.destroy();
        if (!stopping.signal.aborted && !isConnectionError(error)) {
          process.stderr.write(`fault proxy: ${error instanceof Error ? error.stack : error}\n`);
        }
      });
    });
    server.keepAliveTimeout = 60_000;
    const door = await listen(server);
    doors.push(door);
    return door.url;
  }

  const endpoint = await openDoor();
  const callers = new Map<string, Promise<string>>();

  return {
    endpoint,
    endpointFor(caller) {
      const known = callers.get(caller) ?? openDoor(caller);
      callers.set(caller, known);
      return known;
    },
    requests,
    inject(rule) {
      const { times = 1, skip = 0 } = rule;
      for (const [name, value] of Object.entries({ times, skip })) {
        if (!(value >= 0 && (Number.isInteger(value) || value === Number.POSITIVE_INFINITY))) {
          throw new TypeError(
            `Expected \`${name}\` to be a whole number from 0 up, got \`${value}\` (${typeof value})`,
          );
        }
      }
      rules.push({ rule, times, skip });
    },
    disturb(faultFor) {
      disturbing = faultFor;
      return () => {
        if (disturbing === faultFor) disturbing = undefined;
      };
    },
    async calm() {
      while (begun.size > 0) await Promise.allSettled(begun);
    },
    reset() {
      rules = [];
      requests.length = 0;
    },
    onRequest(listener) {
      listeners.add(listener);
      return () => {
        listeners.delete(listener);
      };
    },
    async stop() {
      stopping.abort();
      agent.destroy();
      await Promise.all(doors.map((door) => door.stop()));
    },
  };
}

async function read(message: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of message) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}

function parse(bytes: Buffer, contentType = ''): JsonObject | undefined {
  const text = bytes.toString('utf8');
  if (contentType.startsWith('application/x-www-form-urlencoded')) {
    return Object.fromEntries(new URLSearchParams(text));
  }
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function operationOf({ headers, method, url }: IncomingMessage, body: JsonObject): string {
  const target = headers['x-amz-target'];
  if (typeof target === 'string') return target.replace(/^.*\./, '');
  // SNS speaks AWS's older protocol: a form.
  if (typeof body.Action === 'string') return body.Action;
  return `${method} ${url?.replace(/\?.*$/, '')}`;
}

/** The beginning of what a signature covers: `Credential=<access key id>/<date>/…`. */
function signedBy({ headers }: IncomingMessage): { accessKeyId?: string } {
  const accessKeyId = /\bCredential=([^/,\s]+)\//.exec(headers.authorization ?? '')?.[1];
  return accessKeyId === undefined ? {} : { accessKeyId };
}

function refuse(
  request: ProxiedRequest,
  fault: Extract<Fault, { status: number }>,
  message: IncomingMessage,
  answer: ServerResponse,
): void {
  const { status, type, fields, message: words = `${type}, injected` } = fault;
  request.outcome = 'faulted';
  request.status = status;
  const isSqs = String(message.headers['x-amz-target']).startsWith('AmazonSQS.');
  const namespace = isSqs ? 'com.amazonaws.sqs' : 'com.amazonaws.dynamodb.v20120810';
  request.response = { __type: `${namespace}#${type}`, message: words, ...fields };
  const isForm = typeof request.body.Action === 'string';
  answer.writeHead(status, {
    'content-type': isForm ? 'text/xml' : 'application/x-amz-json-1.0',
    'x-amzn-requestid': randomUUID(),
  });
  answer.end(
    isForm
      ? `<ErrorResponse><Error><Code>${type}</Code><Message>${words}</Message></Error></ErrorResponse>`
      : JSON.stringify(request.response),
  );
}

function isConnectionError(error: unknown): boolean {
  return ['ECONNRESET', 'ECONNREFUSED', 'EPIPE', 'ECONNABORTED'].includes(
    (error as { code?: string })?.code ?? '',
  );
}
