import { IdempotencyError } from '../errors.ts';
import type { Settings } from './settings.ts';

/** What guards share: settings, and whose they are (to tell two guards on one namespace from one that is used twice). */
export interface Guard<Resolved extends Settings = Settings> {
  readonly settings: Resolved;
  readonly subject: object;
}

// On globalThis, so that two copies of the package see each other's guards.
const shared = globalThis as unknown as Record<symbol, Map<string, object> | undefined>;
const registry = Symbol.for('idemkit.namespaces');
shared[registry] ??= new Map();
const namespacesInUse = shared[registry];

/** @throws `NAMESPACE_CLASH` where another guard on the same store fell back to the same default. */
export function refuseSharedNamespace({ settings, subject }: Guard): void {
  const namespace = settings.namespace();
  if (!namespace.isDefault) return;
  const place = JSON.stringify([settings.store().id, namespace.name]);
  const first = namespacesInUse.get(place);
  if (first === undefined) namespacesInUse.set(place, subject);
  else if (first !== subject) {
    throw new IdempotencyError(
      'NAMESPACE_CLASH',
      `Two guards share the default namespace '${namespace.name}' on the store '${settings.store().id}', and so their answers. Give each its own, e.g. { namespace: '${namespace.name}-refunds' }. One middleware in two chains counts as two.`,
    );
  }
}
