/** What a guard works with: its options checked, completed from the environment, and frozen. */
import { dynamoStore } from '../dynamo/index.ts';
import { AnswerCache, type Settings } from '../engine/index.ts';
import { badOption, show } from '../errors.ts';
import type { IdentitySettings } from '../events/index.ts';
import type { ReplySettings } from '../http/index.ts';
import type { IdempotencyEvent } from '../observe/index.ts';
import { defaultTtlSeconds, environment } from '../record.ts';
import { type Store, systemClock } from '../store/index.ts';
import { complete, lifetimeInSeconds } from '../validate.ts';
import { isNamespace, otherNames, rules } from './option-rules.ts';
import type { GuardOptions } from './options.ts';

/** A guard's options, with all defaults filled in. */
export interface GuardSettings extends Settings, IdentitySettings {
  readonly http: IdentitySettings['http'] & ReplySettings;
  readonly disabled: () => boolean;
}

/** @throws `BAD_OPTION`, naming the option, the value, its type and the fix. */
export function resolveOptions(options: GuardOptions = {}): GuardSettings {
  const {
    store: ownStore,
    namespace: ownNamespace,
    sequence,
    ttlSeconds,
    lease,
    whenBusy,
    destinations,
    http,
    cache,
    observe,
    ...asGiven
  } = complete(options, rules, otherNames);
  if (http.errors === 'problem-link' && http.docsUrl === undefined) {
    throw badOption(
      "Option `http.errors` is 'problem-link': give `http.docsUrl` to link to, e.g. 'https://example.com/docs/idempotency'.",
    );
  }

  const disabled = () => isTrue(process.env[environment.disabled]);
  const store = lazyStore(ownStore);
  const named = ownNamespace === undefined ? undefined : { name: ownNamespace, isDefault: false };
  const namespace = () => named ?? namespaceFromEnvironment(store());
  // A missing namespace is reported when the guard is made. Without a `store` it must wait for the first call.
  if (ownStore && !disabled()) namespace();
  const clock = () => store().clock ?? systemClock;

  const settings: GuardSettings = {
    ...asGiven,
    store,
    storeOf: store,
    namespace,
    clock,
    ttlMs: (ttlSeconds ?? ttlFromEnvironment() ?? defaultTtlSeconds) * 1000,
    leaseMs: lease && lease.seconds * 1000,
    waitMs: typeof whenBusy === 'object' ? whenBusy.waitMs : 0,
    // Copied now: a caller may change the array later, and it is checked only once.
    destinations: destinations && [...destinations],
    http: { ...http, methods: http.methods.map((method) => method.toUpperCase()) },
    cache: cache && new AnswerCache(cache),
    observe:
      observe &&
      safely(observe, () => ({
        namespace: disabled() ? (ownNamespace ?? '') : namespace().name,
        atMs: disabled() ? Date.now() : clock().now(),
      })),
    disabled,
  };
  return Object.freeze(sequence?.guarding(settings, options) ?? settings);
}

/** An observer must not fail the call, so what it throws is ignored. */
const safely =
  (
    observe: NonNullable<GuardOptions['observe']>,
    whereAndWhen: () => Pick<IdempotencyEvent, 'namespace' | 'atMs'>,
  ): NonNullable<Settings['observe']> =>
  (occurrence) => {
    try {
      // The compiler cannot follow that these two fields complete each member of the union.
      const event = { ...whereAndWhen(), ...occurrence } as unknown as IdempotencyEvent;
      // Hidden from logs: a step's name may hold an id.
      if (event.type === 'step') Object.defineProperty(event, 'name', { enumerable: false });
      const returned: unknown = observe(event);
      // An async observer is not awaited, and its failure is ignored like any other.
      if (returned instanceof Promise) returned.catch(() => {});
    } catch {}
  };

function lazyStore(given: Store | undefined): () => Store {
  let store = given ?? (process.env[environment.table] ? dynamoStore() : undefined);
  return () => {
    store ??= dynamoStore();
    return store;
  };
}

function namespaceFromEnvironment(store: Store): { name: string; isDefault: boolean } {
  const name =
    process.env[environment.namespace] || process.env.AWS_LAMBDA_FUNCTION_NAME || store.defaultNamespace;
  if (name && isNamespace(name)) return { name, isDefault: true };
  if (name) {
    throw badOption(
      `Expected ${environment.namespace} to be ${rules.namespace.expected}, got ${show(name)}.`,
    );
  }
  throw badOption(
    `Option \`namespace\` is missing, and neither ${environment.namespace} nor AWS_LAMBDA_FUNCTION_NAME is set. Name what the keys belong to, e.g. { namespace: 'payments' }.`,
  );
}

function ttlFromEnvironment(): number | undefined {
  const text = process.env[environment.ttlSeconds];
  if (text === undefined || text === '') return undefined;
  const seconds = Number(text);
  if (lifetimeInSeconds.isFine(seconds)) return seconds;
  throw badOption(
    `Expected ${environment.ttlSeconds} to be ${lifetimeInSeconds.expected}, got ${show(text)}.`,
  );
}

const isTrue = (text: string | undefined): boolean => text === 'true' || text === '1';
