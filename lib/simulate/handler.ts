/** The function whose effect is counted: it charges an order, and fails as it was drawn to. */
import type { Context } from 'aws-lambda';
import { idempotent } from '../guard/index.ts';
import type { IdempotencyEvent } from '../observe/index.ts';
import { operation } from '../operation/index.ts';
import type { Store } from '../store/index.ts';
import type { Environment, FunctionEvent, Guarded, Invocation } from './environment.ts';
import type { Level, SimulationSettings } from './settings.ts';
import { type Draws, purpose } from './time/draws.ts';

/** What befalls one run. */
type Fault = 'crash-before' | 'crash-after' | 'throw' | 'overrun' | undefined;

export interface HandlerParts {
  readonly settings: SimulationSettings;
  readonly draws: Draws;
  began(environment: Environment, invocation: Invocation): void;
  /** @param token what the effect's service is sent, where it knows tokens */
  act(invocation: Invocation, token?: string): void;
  crash(environment: Environment, invocation: Invocation): void;
}

/** The table that a committed charge is written to. */
export const chargesTable = 'charges';

export function handlerIn(environment: Environment, level: Level, parts: HandlerParts): Guarded {
  const { settings, draws } = parts;
  return async (event, context) => {
    const invocation = environment.invocation!;
    const {
      operation: { intent },
      request,
    } = invocation;
    const fault = faultOf(settings, draws, intent.number, invocation.fate);
    const { handlerP50Ms: p50Ms, handlerP99Ms: p99Ms } = settings;
    const takesMs = draws.milliseconds(purpose.handlerTime, { p50Ms, p99Ms }, intent.number, invocation.fate);
    const result = answer(settings, event, intent.number);
    const fail = async (): Promise<void> => {
      if (fault === 'crash-after') {
        parts.crash(environment, invocation);
        await never;
      }
      if (fault === 'overrun') await environment.pause(settings.functionTimeoutMs * 2);
      if (fault === 'throw') throw new Error('The charge was sent, and no answer came.');
    };

    parts.began(environment, invocation);
    await environment.pause(takesMs / 2);
    if (fault === 'crash-before') {
      parts.crash(environment, invocation);
      await never;
    }
    switch (level) {
      case 'none':
      case 'guarded':
        parts.act(invocation);
        await fail();
        break;
      case 'stepped':
        await operation(context).step('charge', async ({ token }) => {
          parts.act(invocation, token);
          await fail();
        });
        break;
      case 'committed': {
        const Item = { number: intent.number, request };
        await operation(context).commit({ result, writes: [{ Put: { TableName: chargesTable, Item } }] });
        await fail();
        break;
      }
    }
    await environment.pause(takesMs / 2);
    return result;
  };
}

const never = new Promise<never>(() => {});

function faultOf(settings: SimulationSettings, draws: Draws, operation: number, request: number): Fault {
  let drawn = draws.fraction(purpose.fault, operation, request);
  const kinds = [
    ['crash-before', settings.crashBeforeRate],
    ['crash-after', settings.crashAfterRate],
    ['throw', settings.throwRate],
    ['overrun', settings.overrunRate],
  ] as const;
  for (const [kind, rate] of kinds) {
    if (drawn < rate) return kind;
    drawn -= rate;
  }
  return undefined;
}

function answer({ answerBytes }: SimulationSettings, { body }: FunctionEvent, number: number): object {
  return { charged: body.amount, order: body.order, receipt: receipt(number, answerBytes) };
}

/** Text that compresses no better than an answer's ids and tokens do. */
const noise = ((length: number) => {
  let text = '';
  for (let state = 1; text.length < length; ) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    text += state.toString(36);
  }
  return text;
})(64_000);

const receipt = (number: number, length: number): string => {
  const from = (number * 7) % 4_096;
  return length <= noise.length - from
    ? noise.slice(from, from + length)
    : noise.repeat(Math.ceil(length / noise.length)).slice(0, length);
};

export function guardedIn(
  environment: Environment,
  parts: HandlerParts,
  store: Store,
  observe: (event: IdempotencyEvent) => void,
): Guarded {
  const { settings } = parts;
  const { level, windowSeconds: ttlSeconds, leaseSeconds, waitForResultMs, cacheItems } = settings;
  // Of Lambda's context there is only what the guard asks for.
  const handler = handlerIn(environment, level, parts) as (
    event: FunctionEvent,
    context: Context,
  ) => Promise<unknown>;
  return idempotent(handler, {
    ...{ namespace: 'simulation', store, ttlSeconds, observe },
    key: ({ key }) => key,
    fingerprint: ({ body }) => body,
    ...(leaseSeconds > 0 && { lease: { seconds: leaseSeconds } }),
    ...(waitForResultMs > 0 && { whenBusy: { waitMs: waitForResultMs } }),
    ...(cacheItems > 0 && { cache: { maxItems: cacheItems } }),
  }) as Guarded;
}
