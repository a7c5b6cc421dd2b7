import { IdempotencyError } from '../errors.ts';

/** What a gateway may tell of an authenticated caller. A value that is neither a string nor a number counts as absent. */
export interface Authenticated {
  /** The `sub` of a JSON Web Token. */
  readonly subject?: unknown;
  /** Its `iss`. */
  readonly issuer?: unknown;
  /** From a Cognito identity pool. */
  readonly cognitoIdentityId?: unknown;
  readonly userArn?: unknown;
  /** From a Lambda authorizer. */
  readonly principalId?: unknown;
  readonly apiKeyId?: unknown;
}

/**
 * A name for the caller, made of the first of these that is known. Names of two kinds never collide.
 * Two sessions of one role are one caller.
 */
export function callerName(known: Authenticated): string | undefined {
  const subject = text(known.subject);
  if (subject !== undefined) return JSON.stringify(['jwt', text(known.issuer) ?? '', subject]);
  const arn = text(known.userArn);
  return (
    named('cognito-identity', text(known.cognitoIdentityId)) ??
    named('iam', arn && withoutSession(arn)) ??
    named('principal', text(known.principalId)) ??
    named('api-key', text(known.apiKeyId))
  );
}

const named = (kind: string, name: string | undefined): string | undefined =>
  name === undefined ? undefined : JSON.stringify([kind, name]);

/**
 * The refusal of a request whose authorizer named nobody.
 *
 * @param names where a name was looked for
 * @param place where a Lambda authorizer returns it
 * @param path where the event has what else the authorizer returned
 */
export const missingTenant = (names: string, place: string, path: string): IdempotencyError =>
  new IdempotencyError(
    'MISSING_TENANT',
    `The authorizer left no identity (${names}), so callers could not be told apart. Return a \`principalId\` in its ${place}, or give the option \`tenant\`, e.g. \`tenant: (event) => event.${path}.customerId\`.`,
  );

const text = (value: unknown): string | undefined =>
  typeof value === 'string' && value !== '' ? value : typeof value === 'number' ? String(value) : undefined;

/** `arn:aws:sts::123456789012:assumed-role/shop/session` → `…:assumed-role/shop` */
function withoutSession(arn: string): string {
  const mark = ':assumed-role/';
  const role = arn.indexOf(mark);
  const session = role === -1 ? -1 : arn.indexOf('/', role + mark.length);
  return session === -1 ? arn : arn.slice(0, session);
}
