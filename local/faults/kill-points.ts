import type { ProxiedRequest, Strike } from './fault-proxy.ts';

/** A request that a function sent, as the proxy saw it come in. */
export interface FunctionRequest {
  readonly functionName: string;
  /** `dynamodb`, `queues`, or the name of an upstream. */
  readonly service: string;
  /** `PutItem`, `SendMessage`, `POST /charges`, … */
  readonly operation: string;
}

export interface KillPointOptions {
  /** The how many-th request is struck, counted from 1 at the call. */
  readonly request: number;
  /**
   * `before`: the request is never forwarded. `after`: it has been applied, and its answer is never delivered.
   */
  readonly when: 'before' | 'after';
  /** Counts the requests of this function or pipe only. @default those of all functions */
  readonly function?: string;
  /** Counts the requests to this service only. @default those to all services */
  readonly service?: string;
  /** Counts the requests of this kind only. @default those of all kinds */
  readonly operation?: string;
}

export interface Struck extends FunctionRequest {
  /** How many processes were killed: those of the function that were working. 1 for a pipe. */
  readonly processes: number;
}

export interface KillPoint {
  /** Resolves once it has struck, or to `undefined` when it was disarmed before. */
  readonly struck: Promise<Struck | undefined>;
  /** Ends the counting; returns what it struck, if it did. */
  disarm(): Struck | undefined;
}

export interface KillPoints {
  /** Every request of a function so far, through whichever proxy, in the order of arrival. Live. */
  readonly requests: readonly FunctionRequest[];
  /** @throws RangeError for a `request` that is no whole number from 1 up */
  killAt(options: KillPointOptions): KillPoint;
  /** What a proxy asks about every request. */
  strikeFor(service: string): (request: ProxiedRequest) => Strike | undefined;
  /**
   * The same for a proxy of pipes. They ask for records all the time: what they send is not in `requests`, and counts
   * only for a kill point that names the pipe.
   */
  strikeForPipes(service: string): (request: ProxiedRequest) => Strike | undefined;
  /** Disarms all. */
  stop(): void;
}

interface Armed {
  readonly options: KillPointOptions;
  seen: number;
  disarm(): void;
  strike(request: FunctionRequest): Strike;
}

/**
 * Counts what functions send, over all proxies in one sequence, and kills at a given place in it. A strike goes before
 * the rules of the proxy. Only what comes from a function counts, so that pollers and the clients of a test do not.
 */
export function createKillPoints(crash: (functionName: string) => number): KillPoints {
  const requests: FunctionRequest[] = [];
  const armed = new Set<Armed>();

  return {
    requests,
    killAt(options) {
      if (!(Number.isInteger(options.request) && options.request >= 1)) {
        throw new RangeError(
          `Expected \`request\` to be a whole number from 1 up, got \`${options.request}\``,
        );
      }
      let result: Struck | undefined;
      let resolve!: (struck: Struck | undefined) => void;
      const struck = new Promise<Struck | undefined>((settle) => {
        resolve = settle;
      });
      const point: Armed = {
        options,
        seen: 0,
        disarm() {
          armed.delete(point);
          resolve(result);
        },
        strike(request) {
          // Once: the retry of a killed invocation goes through.
          armed.delete(point);
          return {
            when: options.when,
            kill() {
              result = { ...request, processes: crash(request.functionName) };
              resolve(result);
            },
          };
        },
      };
      armed.add(point);
      return {
        struck,
        disarm() {
          point.disarm();
          return result;
        },
      };
    },
    strikeFor: (service) => (proxied) => {
      const request = requestOf(service, proxied);
      if (request === undefined) return undefined;
      requests.push(request);
      return strikeBy(request, armed);
    },
    strikeForPipes: (service) => (proxied) => {
      const request = requestOf(service, proxied);
      return (
        request &&
        strikeBy(
          request,
          [...armed].filter(({ options }) => options.function !== undefined),
        )
      );
    },
    stop() {
      for (const point of armed) point.disarm();
    },
  };
}

const requestOf = (service: string, { caller, operation }: ProxiedRequest): FunctionRequest | undefined =>
  caller === undefined ? undefined : { functionName: caller, service, operation };

function strikeBy(request: FunctionRequest, armed: Iterable<Armed>): Strike | undefined {
  let strike: Strike | undefined;
  for (const point of armed) {
    const { options } = point;
    if (options.function !== undefined && options.function !== request.functionName) continue;
    if (options.service !== undefined && options.service !== request.service) continue;
    if (options.operation !== undefined && options.operation !== request.operation) continue;
    point.seen++;
    if (strike === undefined && point.seen >= options.request) strike = point.strike(request);
  }
  return strike;
}
