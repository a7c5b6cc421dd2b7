/** How a function learns where its records are: its environment, its namespace, its TTL. */
import { type Duration, Lazy, Tokenization } from 'aws-cdk-lib';
import type { Function as LambdaFunction } from 'aws-cdk-lib/aws-lambda';
import { defaultTtlSeconds, environment } from '../lib/record.ts';
import { checkApis, checkSources } from './caller-checks.ts';
import { sourcesOf } from './sources.ts';

/** The namespaces of functions that keep records. */
const namespaces = new WeakMap<LambdaFunction, string>();

/** Sets the function's environment, and has its callers checked at synthesis. */
export function protectFunction(
  fn: LambdaFunction,
  tableName: string,
  {
    ttl,
    namespace = fn.node.path,
    namesKey = false,
    keepsPositions = false,
    destinations,
  }: {
    readonly ttl?: Duration;
    readonly namespace?: string;
    readonly namesKey?: boolean;
    readonly keepsPositions?: boolean;
    /** Called at synthesis. */
    readonly destinations: () => readonly string[];
  },
): void {
  if (namespaces.has(fn)) {
    throw new Error(
      `function '${fn.node.path}' keeps its records in a table already: call protect once, and pass tables of its own handlers through dynamoStore({ tableName })`,
    );
  }
  namespaces.set(fn, namespace);
  fn.addEnvironment(environment.table, tableName);
  fn.addEnvironment(environment.namespace, namespace);
  fn.addEnvironment(
    environment.ttlSeconds,
    // Not cached: a version's hash may ask for it before all callers of the function exist.
    Lazy.uncachedString({ produce: () => Tokenization.stringifyNumber(ttl?.toSeconds() ?? defaultTtl(fn)) }),
  );
  fn.addEnvironment(
    environment.destinations,
    // `undefined` leaves the variable out.
    Lazy.uncachedString({ produce: () => destinations().join(',') || undefined }),
  );
  fn.node.addValidation({
    validate: () => [...checkSources(fn, ttl, { namesKey, keepsPositions }), ...checkApis(fn)],
  });
}

/** The default namespace of a function's guards, which is also the dimension of their metrics. */
export function namespaceOf(fn: LambdaFunction): string {
  const namespace = namespaces.get(fn);
  if (namespace === undefined) {
    throw new Error(
      `function '${fn.node.path}' keeps no records: make it an IdempotentFunction, or call table.protect(fn) first`,
    );
  }
  return namespace;
}

/** A record must outlive the message. Else a message that is delivered again later would run again. */
function defaultTtl(fn: LambdaFunction): number {
  return Math.max(defaultTtlSeconds, ...sourcesOf(fn).map(({ life }) => life.seconds));
}
