import type { Context } from 'aws-lambda';
import { IdempotencyError } from '../errors.ts';
import { sha256 } from '../hash.ts';
import { kindOf } from '../validate.ts';
import {
  appSyncCaller,
  appSyncHeaderLines,
  asAppSyncEvent,
  canonicalMutation,
  isMutation,
} from './appsync.ts';
import { canonicalText } from './canonical.ts';
import {
  asHttpEvent,
  callerOf,
  canonicalRequest,
  type HttpEvent,
  headerLines,
  whyNoHttpEvent,
} from './http-event.ts';
import type { Key } from './key.ts';
import { keyFromHeader } from './key-syntax.ts';
import { isOfBatches, type Shape, shapeOfRecord, sourceOfFirst } from './services.ts';

/** The options of a guard that decide which operation an event belongs to. */
export interface IdentitySettings {
  readonly key: ((event: never, context: Context) => Key) | undefined;
  readonly tenant: ((event: never, context: Context) => string | undefined) | undefined;
  readonly fingerprint: false | ((event: never, context: Context) => unknown) | undefined;
  readonly required: boolean;
  readonly namespace: () => { readonly name: string; readonly isDefault: boolean };
  readonly http: {
    readonly keyHeader: string;
    readonly methods: readonly string[];
    readonly keySyntax: 'lenient' | 'strict';
  };
  /** Where an operation is in its sender's sequence. `numbered` brings it; `parts` are those of the key. */
  readonly placed?: (
    namespace: string,
    tenant: string | undefined,
    parts: readonly string[],
  ) => { readonly pk: string; readonly place: SenderPlace };
}

/** An operation's place in the sequence of its sender. */
export interface SenderPlace {
  /** Partition key of the sender's item. */
  readonly sender: string;
  readonly epoch: number;
  readonly number: number;
}

/** Which operation an event belongs to, or why it belongs to none. */
export type Identity =
  | {
      readonly kind: 'operation';
      readonly key: string;
      readonly scope: string;
      /** The record's partition key: `<namespace>#<base64url(sha256(tenant, key))>`. It shows neither tenant nor key. */
      readonly pk: string;
      readonly fingerprint: string | undefined;
      /** With the option `sequence`. */
      readonly place?: SenderPlace;
    }
  | { readonly kind: 'none'; readonly reason: 'method' | 'no-key' };

/**
 * Reads key, tenant and fingerprint of an event. Call it before a handler or another middleware changes the event.
 *
 * @throws `MISSING_KEY`, `BAD_KEY`, `MISSING_TENANT`, `BAD_PAYLOAD`, `UNSUPPORTED`
 */
export function identify(
  settings: IdentitySettings,
  event: unknown,
  context: Context,
  http: HttpEvent | undefined,
): Identity {
  return identityOf(settings, event, context, shapeOf(event, http, settings.http), http);
}

/** The same for one record of a batch. Options are called with the record. */
export const identifyRecord = (
  settings: IdentitySettings,
  { raw, shape }: { readonly raw: object; readonly shape: Shape },
  context: Context,
): Identity => identityOf(settings, raw, context, shape, undefined);

function identityOf(
  settings: IdentitySettings,
  event: unknown,
  context: Context,
  shape: Shape,
  http: HttpEvent | undefined,
): Identity {
  if (shape.isGuarded === false) return { kind: 'none', reason: 'method' };

  const key = settings.key ? settings.key(event as never, context) : shape.key();
  if (key === undefined) {
    if (!settings.required) return { kind: 'none', reason: 'no-key' };
    throw missingKey(settings, event, http);
  }
  const parts = checkedParts(key);

  const tenant = settings.tenant
    ? checkedTenant(settings.tenant(event as never, context))
    : namedIn(shape.tenant());
  if (http && tenant === undefined) warnOfUnusedAuthorization(http);

  const { name: namespace } = settings.namespace();
  return {
    kind: 'operation',
    key: parts.join('#'),
    scope: tenant === undefined ? namespace : `${namespace}#${tenant}`,
    pk: `${namespace}#${sha256(JSON.stringify([tenant ?? null, ...parts]))}`,
    fingerprint: fingerprintOf(settings, event, context, shape),
    ...settings.placed?.(namespace, tenant, parts),
  };
}

/** An event that was made by hand may name its source by anything. */
export const namedIn = (source: unknown): string | undefined =>
  typeof source === 'string' ? source : undefined;

function fingerprintOf(
  settings: IdentitySettings,
  event: unknown,
  context: Context,
  shape: Shape,
): string | undefined {
  const { fingerprint } = settings;
  if (fingerprint === false) return undefined;
  if (fingerprint) {
    const compared: unknown = fingerprint(event as never, context);
    if (!knownToCompare.has(settings)) warnOfComparingNothing(settings, compared);
    return sha256(canonicalText(compared));
  }
  return shape.isComparable === false ? undefined : sha256(shape.payload());
}

/** Guards whose option `fingerprint` has been looked at: once is enough. */
const knownToCompare = new WeakSet<IdentitySettings>();

function warnOfComparingNothing(settings: IdentitySettings, compared: unknown): void {
  knownToCompare.add(settings);
  if (compared !== undefined) return;
  console.warn(
    '[idemkit] Option `fingerprint` returned undefined, so payloads are not compared. Return what must be equal, or set `fingerprint: false`.',
  );
}

/**
 * For the option `key`: a hash of the canonical payload, so that equal payloads are one operation. Use it for events without
 * a key of their own, if nobody sends the same payload twice on purpose.
 *
 * @throws `BAD_PAYLOAD` where the payload has no canonical text: a cycle, a function
 * @example idempotent(handler, { key: wholePayload })
 */
export function wholePayload(event: unknown): string {
  return sha256(shapeOf(event, asHttpEvent(event)).payload());
}

/** All lines of a header of an HTTP request or an AppSync mutation; `undefined` for an event without headers. */
export function headerLinesOf(event: unknown, name: string): string[] | undefined {
  const http = asHttpEvent(event);
  if (http) return headerLines(http, name);
  const resolver = asAppSyncEvent(event);
  return resolver && appSyncHeaderLines(resolver, name);
}

function shapeOf(event: unknown, http: HttpEvent | undefined, options?: IdentitySettings['http']): Shape {
  const header = options?.keyHeader ?? 'Idempotency-Key';
  const syntax = options?.keySyntax ?? 'lenient';
  if (http) {
    return {
      isGuarded: options === undefined || options.methods.includes(http.method),
      key: () => keyFromHeader(headerLines(http, header), header, syntax),
      tenant: () => callerOf(http),
      payload: () => canonicalRequest(http),
    };
  }
  const record = shapeOfRecord(event);
  if (record) return record;
  refuseBatches(event);
  const resolver = asAppSyncEvent(event);
  if (resolver) {
    return {
      isGuarded: isMutation(resolver),
      key: () =>
        keyFromHeader(appSyncHeaderLines(resolver, header), header, syntax) ??
        sha256(canonicalMutation(resolver)),
      tenant: () => appSyncCaller(resolver),
      payload: () => canonicalMutation(resolver),
    };
  }
  const bridge = asEventBridgeEvent(event);
  if (bridge) {
    return {
      key: () => bridge.id,
      tenant: () => bridge.source,
      payload: () => canonicalText([bridge.source, bridge['detail-type'], bridge.detail]),
    };
  }
  return {
    key: () => undefined,
    tenant: () => undefined,
    payload: () => canonicalText(event),
  };
}

function checkedParts(key: NonNullable<Key>): string[] {
  if (typeof key === 'string' && key.trim() !== '') return [key];
  const parts = typeof key === 'string' || typeof key === 'number' ? [key] : key;
  // Untyped code, or a field that is not there, may return anything.
  if (!Array.isArray(parts) || parts.length === 0) {
    throw new IdempotencyError(
      'BAD_KEY',
      `Option \`key\` returned ${Array.isArray(key) ? 'an empty array' : kindOf(key)}; return a string, a number, an array of them, or undefined for no key.`,
    );
  }
  // Spread, because `map` would skip holes.
  return [...parts].map((part: unknown, index) => {
    const isText = typeof part === 'string' && part.trim() !== '';
    if (isText || (typeof part === 'number' && Number.isFinite(part))) return String(part);
    throw new IdempotencyError(
      'BAD_KEY',
      `${parts.length === 1 ? 'The key' : `Part ${index} of the key`} that option \`key\` returned is ${kindOf(part)}. Without it, different operations would share a key.`,
    );
  });
}

export function checkedTenant(tenant: unknown): string {
  if (typeof tenant === 'string' && tenant.trim() !== '') return tenant;
  throw new IdempotencyError(
    'MISSING_TENANT',
    `Option \`tenant\` returned ${kindOf(tenant)}. Return who is calling, as a string; otherwise callers would share keys.`,
  );
}

function missingKey(
  settings: IdentitySettings,
  event: unknown,
  http: HttpEvent | undefined,
): IdempotencyError {
  if (settings.key) {
    return new IdempotencyError(
      'MISSING_KEY',
      http
        ? 'This request has no idempotency key. Send one, the same for every attempt of the same operation.'
        : 'Option `key` returned undefined, and a key is required. Return one, or set `required: false` to run such events unguarded.',
    );
  }
  if (http) {
    return new IdempotencyError(
      'MISSING_KEY',
      `This request needs the header ${settings.http.keyHeader}: a UUID, the same for every attempt of the same operation.`,
    );
  }
  const lack = whyNoHttpEvent(event);
  return new IdempotencyError(
    'MISSING_KEY',
    lack
      ? madeByHand(lack)
      : 'This event has no key of its own. Give the option `key`, e.g. `(event) => event.orderId`, or `wholePayload` if equal payloads are one operation.',
  );
}

/** @param lack what the event lacks that a service sends */
export const madeByHand = (lack: string): string =>
  `This event has no key: ${lack}. \`idemkit/testing\` makes whole events (httpEventV2, sqsEvent, …). For one of your own, give the option \`key\`.`;

interface EventBridgeEvent {
  readonly id: string;
  readonly source: string;
  readonly 'detail-type': string;
  readonly detail: unknown;
}

function asEventBridgeEvent(event: unknown): EventBridgeEvent | undefined {
  const candidate = event as Partial<EventBridgeEvent> | null | undefined;
  return typeof candidate?.id === 'string' &&
    typeof candidate.source === 'string' &&
    typeof candidate['detail-type'] === 'string' &&
    Object.hasOwn(candidate, 'detail')
    ? (candidate as EventBridgeEvent)
    : undefined;
}

/** AppSync can send an array of calls. Unknown services send `Records`. */
function refuseBatches(event: unknown): void {
  if (isOfBatches(event)) throw batchNotTaken();
  if (Array.isArray(event) && asAppSyncEvent(event[0])) throw unknownBatch('AppSync');
  const source = sourceOfFirst(event);
  // Only what looks like a service's name is shown: the caller may have written anything.
  if (typeof source === 'string') {
    throw unknownBatch(/^aws:[a-z\d-]{1,30}$/.test(source) ? source : 'unknown');
  }
}

/** The refusal of a batch that the handler would read as a whole. */
export const batchNotTaken = (): IdempotencyError =>
  new IdempotencyError(
    'UNSUPPORTED',
    'A batch is guarded record by record. Make its handler by `eachRecord(async (record, operation) => { … })`, or by `freshRecords(handler)`, which gives yours the records that are to be processed.',
  );

const unknownBatch = (source: string): IdempotencyError =>
  new IdempotencyError(
    'UNSUPPORTED',
    `A batch of ${source} records may come again cut differently. Guard the function for one record: idempotent(handleRecord, { key: (record) => record.id }).`,
  );

let warned = false;

function warnOfUnusedAuthorization(http: HttpEvent): void {
  if (warned || headerLines(http, 'authorization').length === 0) return;
  warned = true;
  console.warn(
    '[idemkit] No authorizer names the sender of an Authorization header, so all callers share keys. Add one, or give the option `tenant`.',
  );
}
