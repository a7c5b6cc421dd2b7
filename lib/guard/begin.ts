/**
 * The way in, for the wrapper and for Middy: event → identity → claim → (handler) → settle → reply.
 * `begin` returns what the handler is called with and a `Run` that is told how it ended, or the answer of a call that does
 * not reach the handler.
 */
import type { Context } from 'aws-lambda';
import {
  answerOrThrow,
  type Begun,
  type Call,
  type Carried,
  carriedBy,
  type Entered,
  enter,
  type Guard,
  parts,
  plainReply,
  type Reply,
  refusalOf,
  refuseSharedNamespace,
  replay,
} from '../engine/index.ts';
import { afterActing, IdempotencyError } from '../errors.ts';
import { asHttpEvent, type HttpEvent, identify } from '../events/index.ts';
import { httpReply } from '../http/index.ts';
import type { UnguardedReason } from '../observe/index.ts';
import type { GuardSettings } from './resolve-options.ts';

/** @throws what identifying and claiming throw; of an HTTP call only what is not the caller's fault */
export function begin(
  guard: Guard<GuardSettings>,
  event: unknown,
  context: Context | undefined,
): Begun | Promise<Begun> {
  const { settings } = guard;
  const carried = carriedBy(context);
  if (carried?.kind === 'batch') carried.batch.open();
  if (settings.disabled()) {
    warnOfDisabled();
    const begun = parts.beginBatch?.(guard as Guard<never>, event, context, true);
    return begun ?? unguarded(settings, event, context, 'disabled');
  }
  const http = asHttpEvent(event);
  const reply = http ? httpReply(settings.http, http) : plainReply;
  return beginOne(guard, event, context, http, reply);
}

async function beginOne(
  guard: Guard<GuardSettings>,
  event: unknown,
  context: Context | undefined,
  http: HttpEvent | undefined,
  reply: Reply,
): Promise<Begun> {
  const { settings } = guard;
  try {
    refuseDurableExecution(context);
    const batch = http ? undefined : parts.beginBatch?.(guard as Guard<never>, event, context, false);
    if (batch) return batch;
    const identity = identify(settings, event, context as Context, http);
    if (identity.kind === 'none') return unguarded(settings, event, context, identity.reason);
    refuseSharedNamespace(guard);
    const call: Call = { settings, event, context, reply, identity, startedAtMs: settings.clock().now() };
    const entered = await enter(call);
    if (entered.outcome === 'replay') return { kind: 'answer', answer: await replay(call, entered.record) };
    return afterClaim(guard, call, entered);
  } catch (error) {
    return { kind: 'answer', answer: answerOrThrow(reply, error) };
  }
}

/** @throws why the call is refused */
function afterClaim(
  { settings }: Guard<GuardSettings>,
  call: Call,
  entered: Exclude<Entered, { outcome: 'replay' }>,
): Begun {
  const { event, context } = call;
  switch (entered.outcome) {
    case 'run': {
      const { execution: run } = entered;
      return { kind: 'run', event, context: carry(context, { kind: 'guarded', execution: run }), run };
    }
    case 'mismatch':
    case 'busy':
      throw refusalOf(entered, settings.clock().now());
    case 'unreachable':
      if (settings.whenStoreFails === 'refuse') throw entered.error;
      return unguarded(settings, event, context, 'store-failed', entered.error);
  }
}

/** The context that the handler is given. */
const carry = (context: Context | undefined, what: Carried): Context =>
  parts.carrying?.(context, what) ?? context ?? ({} as Context);

function unguarded(
  settings: GuardSettings,
  event: unknown,
  context: Context | undefined,
  reason: UnguardedReason,
  cause?: unknown,
): Extract<Begun, { kind: 'run' }> {
  settings.observe?.({ type: 'unguarded', reason, ...(cause !== undefined && { cause }) });
  return {
    kind: 'run',
    event,
    context: carry(context, { kind: 'unguarded', settings }),
    run: {
      returned: async (result) => result,
      threw: async (error) => ({ kind: 'error', error: afterActing(error) }),
      returnedInVain: async () => {},
    },
  };
}

function refuseDurableExecution(context: Context | undefined): void {
  const durable = context as { executionContext?: unknown; lambdaContext?: unknown } | undefined;
  if (durable?.executionContext === undefined || durable.lambdaContext === undefined) return;
  throw new IdempotencyError(
    'UNSUPPORTED',
    'A durable execution cannot be guarded from inside: when it resumes, it would find its own claim busy. Guard what starts it, under a name made of the key, and use its own steps inside.',
  );
}

let warnedOfDisabled = false;

function warnOfDisabled(): void {
  if (warnedOfDisabled) return;
  warnedOfDisabled = true;
  console.warn('[idemkit] IDEMPOTENCY_DISABLED is set: handlers run unguarded.');
}
