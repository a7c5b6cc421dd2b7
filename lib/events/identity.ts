import type { Context } from 'aws-lambda';
import { IdempotencyError } from '../errors.ts';
import { sha256 } from '../hash.ts';
import { isRecord, kindOf } from '../validate.ts';
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
import { asRecord, type BatchRecord, whyNoBatch } from './records.ts';

/** What names an operation, where the event itself is not to say. */
export interface IdentitySettings {
  readonly key: ((event: any, context: Context) => Key) | undefined;
  readonly tenant: ((event: any, context: Context) => string | undefined) | undefined;
  readonly fingerprint: false | ((event: any, context: Context) => unknown) | undefined;
  readonly required: boolean;
  readonly namespace: () => { readonly name: string; readonly isDefault: boolean };
  readonly http: {
    readonly keyHeader: string;
    readonly methods: readonly string[];
    readonly keySyntax: 'lenient' | 'strict';
  };
}

/** Which operation an event belongs to, or why it belongs to none. */
export type Identity =
  | {
      readonly kind: 'operation';
      readonly key: string;
      readonly scope: string;
      /** `<namespace>#<base64url(sha256(tenant, key))>`: neither tenant nor key can be read back from it. */
      readonly pk: string;
      readonly fingerprint: string | undefined;
    }
  | { readonly kind: 'none'; readonly reason: 'method' | 'no-key' };

/** What an event says of itself; `undefined` where its shape has nothing to say. */
interface Shape {
  /** Whether such an event can change anything. */
  readonly isGuarded: boolean;
  /** Whether a repeat with another payload is misuse. */
  readonly isComparable: boolean;
  key(): Key;
  tenant(): string | undefined;
  /** The canonical text of what must be equal in a repeat. */
  payload(): string;
}

/**
 * Reads key, tenant and fingerprint off an event as it arrived, before a handler or another middleware changes it.
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

/** The same for one record of a batch; options are given the record. */
export function identifyRecord(settings: IdentitySettings, record: BatchRecord, context: Context): Identity {
  return identityOf(settings, record.raw, context, { ...record, isGuarded: true }, undefined);
}

function identityOf(
  settings: IdentitySettings,
  event: unknown,
  context: Context,
  shape: Shape,
  http: HttpEvent | undefined,
): Identity {
  if (!shape.isGuarded) return { kind: 'none', reason: 'method' };

  const key = settings.key ? settings.key(event, context) : shape.key();
  if (key === undefined) {
    if (!settings.required) return { kind: 'none', reason: 'no-key' };
    throw missingKey(settings, event, http);
  }
  const parts = checkedParts(key);

  const tenant = settings.tenant ? checkedTenant(settings.tenant(event, context)) : shape.tenant();
  if (http && tenant === undefined) warnOfUnusedAuthorization(http);

  const { name: namespace } = settings.namespace();
  return {
    kind: 'operation',
    key: parts.join('#'),
    scope: tenant === undefined ? namespace : `${namespace}#${tenant}`,
    pk: `${namespace}#${sha256(JSON.stringify([tenant ?? null, ...parts]))}`,
    fingerprint: fingerprintOf(settings, event, context, shape),
  };
}

function fingerprintOf(
  settings: IdentitySettings,
  event: unknown,
  context: Context,
  shape: Shape,
): string | undefined {
  const { fingerprint } = settings;
  if (fingerprint === false) return undefined;
  if (fingerprint) {
    const compared: unknown = fingerprint(event, context);
    if (!knownToCompare.has(settings)) tellComparing(settings, compared);
    return sha256(canonicalText(compared));
  }
  return shape.isComparable ? sha256(shape.payload()) : undefined;
}

/** Guards whose `fingerprint` has returned something, or that were told that it did not. */
const knownToCompare = new WeakSet<IdentitySettings>();

function tellComparing(settings: IdentitySettings, compared: unknown): void {
  knownToCompare.add(settings);
  if (compared !== undefined) return;
  console.warn(
    '[idemkit] Option `fingerprint` returned undefined, so payloads are not compared: a key that is used again with other parameters is answered with the first answer. Return what must be equal; where nothing must, say `fingerprint: false`.',
  );
}

/**
 * A `key` that hashes the canonical payload: equal payloads are one operation. For events that carry no key of their
 * own, where sending the same thing twice on purpose is not meant to do it twice.
 *
 * @example idempotent(handler, { key: wholePayload })
 */
export function wholePayload(event: unknown): string {
  return sha256(shapeOf(event, asHttpEvent(event)).payload());
}

function shapeOf(event: unknown, http: HttpEvent | undefined, options?: IdentitySettings['http']): Shape {
  const header = options?.keyHeader ?? 'Idempotency-Key';
  const syntax = options?.keySyntax ?? 'lenient';
  if (http) {
    return {
      isGuarded: options === undefined || options.methods.includes(http.method),
      isComparable: true,
      key: () => keyFromHeader(headerLines(http, header), header, syntax),
      tenant: () => callerOf(http),
      payload: () => canonicalRequest(http),
    };
  }
  const record = asRecord(event);
  if (record) return { ...record, isGuarded: true };
  refuseUnknownBatches(event);
  const resolver = asAppSyncEvent(event);
  if (resolver) {
    return {
      isGuarded: isMutation(resolver),
      isComparable: true,
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
      isGuarded: true,
      isComparable: true,
      key: () => bridge.id,
      tenant: () => bridge.source,
      payload: () => canonicalText([bridge.source, bridge['detail-type'], bridge.detail]),
    };
  }
  return {
    isGuarded: true,
    isComparable: true,
    key: () => undefined,
    tenant: () => undefined,
    payload: () => canonicalText(event),
  };
}

function checkedParts(key: NonNullable<Key>): string[] {
  const parts = typeof key === 'string' || typeof key === 'number' ? [key] : key;
  // A key that is not what its type says comes from untyped code, or from a field that was not there.
  if (!Array.isArray(parts) || parts.length === 0) {
    throw new IdempotencyError(
      'BAD_KEY',
      `Option \`key\` returned ${Array.isArray(key) ? 'an empty array' : kindOf(key)}; return a string, a number, an array of strings and numbers, or undefined for an event without a key.`,
    );
  }
  // `map` alone would skip a hole.
  return Array.from(parts, (part: unknown, index) => {
    const isText = typeof part === 'string' && part.trim() !== '';
    if (isText || (typeof part === 'number' && Number.isFinite(part))) return String(part);
    throw new IdempotencyError(
      'BAD_KEY',
      `${parts.length === 1 ? 'The key' : `Part ${index} of the key`} that option \`key\` returned is ${kindOf(part)}. Every part must be there, or different operations would share one key.`,
    );
  });
}

function checkedTenant(tenant: unknown): string {
  if (typeof tenant === 'string' && tenant.trim() !== '') return tenant;
  throw new IdempotencyError(
    'MISSING_TENANT',
    `Option \`tenant\` returned ${kindOf(tenant)} for this event. Return who is calling as a string; without it, keys of different callers would share one space.`,
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
        : 'Option `key` returned undefined for this event or record and a key is required. Return a key, or set `required: false` to run such events unguarded.',
    );
  }
  if (http) {
    return new IdempotencyError(
      'MISSING_KEY',
      `This request needs the header ${settings.http.keyHeader}: a UUID, the same for every attempt of the same operation.`,
    );
  }
  const byHand = whyNoHttpEvent(event) ?? whyNoBatch(event);
  return new IdempotencyError(
    'MISSING_KEY',
    byHand
      ? `This event carries no idempotency key that can be read: ${byHand}. Events that services send are recognised by their shape; for a test, \`idemkit/testing\` makes them (httpEventV2, httpEventV1, albEvent, sqsEvent, …). For an event of your own give the option \`key\`.`
      : 'An event of this shape carries no idempotency key of its own. Give the option `key`, e.g. `key: (event) => event.orderId`, or `key: wholePayload` if equal payloads are one operation.',
  );
}

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

/** AppSync can send an array of calls; services that are not known here send `Records`, and so do tests. */
function refuseUnknownBatches(event: unknown): void {
  if (Array.isArray(event)) {
    if (asAppSyncEvent(event[0])) throw unknownBatch('AppSync', undefined);
    return;
  }
  const records = isRecord(event) && Array.isArray(event.Records) ? event.Records : [];
  const source: unknown = records[0]?.eventSource ?? records[0]?.EventSource;
  // A name that is no service's is not shown: it is the caller's word.
  if (typeof source === 'string') {
    throw unknownBatch(/^aws:[a-z\d-]{1,30}$/.test(source) ? source : 'unknown', whyNoBatch(event));
  }
}

function unknownBatch(source: string, byHand: string | undefined): IdempotencyError {
  return new IdempotencyError(
    'UNSUPPORTED',
    byHand
      ? `This event is no batch that a service sends: ${byHand}. For a test, \`idemkit/testing\` makes whole ones (sqsEvent, kinesisEvent, dynamoStreamEvent, snsEvent).`
      : `A batch of ${source} records cannot be guarded as one operation: a batch that is delivered again may be cut differently. Wrap the function that handles one record instead: const once = idempotent(handleRecord, { key: (record) => record.id }), and call it for each record.`,
  );
}

let warned = false;

function warnOfUnusedAuthorization(http: HttpEvent): void {
  if (warned || headerLines(http, 'authorization').length === 0) return;
  warned = true;
  console.warn(
    '[idemkit] Requests carry an Authorization header, but no authorizer of the gateway told who is calling: all callers share one space of keys. Put an authorizer in front, or give the option `tenant`.',
  );
}
