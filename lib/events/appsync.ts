import { callerName, missingTenant } from './caller.ts';
import { canonicalText } from './canonical.ts';

/**
 * The event of a direct Lambda resolver of AWS AppSync.
 *
 * @see https://docs.aws.amazon.com/appsync/latest/devguide/resolver-context-reference-js.html
 */
export interface AppSyncEvent {
  readonly arguments: Readonly<Record<string, unknown>>;
  readonly identity?: Readonly<Record<string, unknown>> | null;
  readonly request?: { readonly headers?: Readonly<Record<string, string | undefined>> } | null;
  readonly info: { readonly fieldName: string; readonly parentTypeName: string };
}

/** `undefined` for any other event. */
export function asAppSyncEvent(event: unknown): AppSyncEvent | undefined {
  const candidate = event as Partial<AppSyncEvent> | null | undefined;
  return typeof candidate?.info?.fieldName === 'string' &&
    typeof candidate.info.parentTypeName === 'string' &&
    typeof candidate.arguments === 'object'
    ? (candidate as AppSyncEvent)
    : undefined;
}

/** Queries and subscriptions change nothing. */
export const isMutation = ({ info }: AppSyncEvent): boolean => info.parentTypeName === 'Mutation';

/** AppSync has header names in lower case, and one value each. */
export function appSyncHeaderLines({ request }: AppSyncEvent, name: string): string[] {
  const headers = request?.headers ?? {};
  const wanted = name.toLowerCase();
  const value: unknown = Object.hasOwn(headers, wanted) ? headers[wanted] : undefined;
  return typeof value === 'string' ? [value] : [];
}

/** Field and arguments. Not the selection: a retry that asks for other members of the result is the same mutation. */
export const canonicalMutation = ({ info, arguments: args }: AppSyncEvent): string =>
  canonicalText([info.fieldName, args]);

/**
 * The caller that AppSync has authenticated; `undefined` with an API key, which many callers share.
 *
 * @throws `MISSING_TENANT` where a Lambda authorizer leaves no `principalId` in its `resolverContext`
 */
export function appSyncCaller({ identity }: AppSyncEvent): string | undefined {
  if (!identity) return undefined;
  const { sub, issuer, cognitoIdentityId, userArn, resolverContext } = identity;
  const principalId = (resolverContext as { principalId?: unknown } | null | undefined)?.principalId;
  const caller = callerName({ subject: sub, issuer, cognitoIdentityId, userArn, principalId });
  if (caller !== undefined) return caller;
  throw missingTenant(
    'no `sub`, no `userArn`, no `principalId`',
    '`resolverContext`',
    'identity.resolverContext',
  );
}
