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
  /** Counts the requests of this function only. @default those of all functions */
  readonly function?: string;
  /** Counts the requests to this service only. @default those to all services */
  readonly service?: string;
}

export interface Struck extends FunctionRequest {
  /** How many processes were killed: those of the function that were working. */
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
      if (proxied.caller === undefined) return undefined;
      const request = { functionName: proxied.caller, service, operation: proxied.operation };
      requests.push(request);
      let strike: Strike | undefined;
      for (const point of armed) {
        const { options } = point;
        if (options.function !== undefined && options.function !== request.functionName) continue;
        if (options.service !== undefined && options.service !== service) continue;
        point.seen++;
        if (strike === undefined && point.seen >= options.request) strike = point.strike(request);
      }
      return strike;
    },
    stop() {
      for (const point of armed) point.disarm();
    },
  };
}
