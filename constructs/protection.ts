import { Annotations, type Duration, Lazy, Stack, Tokenization } from 'aws-cdk-lib';
import { CfnMethod } from 'aws-cdk-lib/aws-apigateway';
import { CfnIntegration } from 'aws-cdk-lib/aws-apigatewayv2';
import { CfnGlobalTable, CfnTable } from 'aws-cdk-lib/aws-dynamodb';
import { CfnManagedPolicy, CfnPolicy, CfnRole } from 'aws-cdk-lib/aws-iam';
import { CfnStream } from 'aws-cdk-lib/aws-kinesis';
import { CfnEventSourceMapping, CfnFunction, type Function as LambdaFunction } from 'aws-cdk-lib/aws-lambda';
import { CfnQueue } from 'aws-cdk-lib/aws-sqs';
import type { IConstruct } from 'constructs';
import { defaultTtlSeconds, environment } from '../lib/record.ts';
import { knownNumber, knownSeconds } from './known.ts';
import { addressesOf } from './targets.ts';

/** How a function keeps its records, as the checks at synthesis need it. */
interface Protection {
  readonly ttl?: Duration;
  readonly namespace: string;
  readonly namesKey: boolean;
}

const protections = new WeakMap<LambdaFunction, Protection>();

/** Sets the function's environment, and has its callers checked at synthesis. */
export function protectFunction(
  fn: LambdaFunction,
  tableName: string,
  {
    ttl,
    namespace = fn.node.path,
    namesKey = false,
    destinations,
  }: {
    readonly ttl?: Duration;
    readonly namespace?: string;
    readonly namesKey?: boolean;
    /** Called at synthesis. */
    readonly destinations: () => readonly string[];
  },
): void {
  if (protections.has(fn)) {
    throw new Error(
      `function '${fn.node.path}' keeps its records in a table already: call protect once, and pass tables of its own handlers through dynamoStore({ tableName })`,
    );
  }
  protections.set(fn, { namespace, namesKey, ...(ttl && { ttl }) });
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
  fn.node.addValidation({ validate: () => [...checkSources(fn, ttl), ...checkApis(fn)] });
}

/** The default namespace of a function's guards, which is also the dimension of their metrics. */
export function namespaceOf(fn: LambdaFunction): string {
  const protection = protections.get(fn);
  if (protection === undefined) {
    throw new Error(
      `function '${fn.node.path}' keeps no records: make it an IdempotentFunction, or call table.protect(fn) first`,
    );
  }
  return protection.namespace;
}

/** A record must outlive the message. Else a message that is delivered again later would run again. */
function defaultTtl(fn: LambdaFunction): number {
  return Math.max(defaultTtlSeconds, ...sourcesOf(fn).map(({ life }) => life.seconds));
}

/** How long a service may deliver a record again. */
interface Life {
  readonly seconds: number;
  /** `false` where the template does not say. Then `seconds` is the longest that the service allows. */
  readonly isKnown: boolean;
}

/** A queue or a stream that hands records to a function. */
interface Source {
  /** `undefined` for a queue that this app does not create. */
  readonly resource: CfnQueue | CfnTable | CfnGlobalTable | CfnStream | undefined;
  readonly life: Life;
  readonly mapping: CfnEventSourceMapping;
}

function sourcesOf(fn: LambdaFunction): Source[] {
  const constructs = fn.node.root.node.findAll();
  const addresses = addressesOf(fn);
  return constructs
    .filter((construct) => construct instanceof CfnEventSourceMapping)
    .filter((mapping) => addresses.isAddress(mapping, mapping.functionName))
    .flatMap((mapping): Source[] => {
      const found = constructs.flatMap((resource) => {
        const source = asSource(resource, constructs);
        return source && areSame(mapping, mapping.eventSourceArn, source.arn) ? [{ ...source, mapping }] : [];
      });
      const elsewhere = found.length === 0 ? lifeElsewhere(mapping) : undefined;
      return elsewhere ? [{ resource: undefined, life: elsewhere, mapping }] : found;
    });
}

/** A resource as a source of records. Where its template says nothing, the service's default counts. */
function asSource(
  resource: IConstruct,
  constructs: readonly IConstruct[],
): (Omit<Source, 'mapping'> & { readonly arn: string }) | undefined {
  if (resource instanceof CfnQueue) {
    return { resource, arn: resource.attrArn, life: lifeOfMessages(resource, constructs) };
  }
  if (resource instanceof CfnTable || resource instanceof CfnGlobalTable) {
    return { resource, arn: resource.attrStreamArn, life: { seconds: daySeconds, isKnown: true } };
  }
  if (resource instanceof CfnStream) {
    const hours = knownNumber(resource, resource.retentionPeriodHours, 24);
    const life = { seconds: (hours ?? longestInStreamHours) * 3_600, isKnown: hours !== undefined };
    return { resource, arn: resource.attrArn, life };
  }
  return undefined;
}

/** A message may come from its queue, and once more from the dead-letter queue, when it is redriven. */
function lifeOfMessages(queue: CfnQueue, constructs: readonly IConstruct[]): Life {
  const own = retentionOf(queue);
  if (queue.redrivePolicy === undefined) return own;
  const deadLetterQueue = deadLetterQueueOf(queue, constructs);
  const dead = deadLetterQueue ? retentionOf(deadLetterQueue) : longestInQueue;
  return {
    // A dead letter of a FIFO queue begins a new age. One of a standard queue keeps its age.
    seconds: queue.fifoQueue ? own.seconds + dead.seconds : Math.max(own.seconds, dead.seconds),
    isKnown: own.isKnown && dead.isKnown,
  };
}

/** `undefined` for one that this app does not create. */
function deadLetterQueueOf(queue: CfnQueue, constructs: readonly IConstruct[]): CfnQueue | undefined {
  const policy: { readonly deadLetterTargetArn?: unknown } | undefined = Stack.of(queue).resolve(
    queue.redrivePolicy,
  );
  return constructs
    .filter((construct) => construct instanceof CfnQueue)
    .find((candidate) => areSame(queue, candidate.attrArn, policy?.deadLetterTargetArn));
}

function retentionOf(queue: CfnQueue): Life {
  const seconds = knownNumber(queue, queue.messageRetentionPeriod, 4 * daySeconds);
  return seconds === undefined ? longestInQueue : { seconds, isKnown: true };
}

/** A queue that this app does not create may have a dead-letter queue, and both may keep messages as long as SQS allows. */
function lifeElsewhere(mapping: CfnEventSourceMapping): Life | undefined {
  const arn: unknown = Stack.of(mapping).resolve(mapping.eventSourceArn);
  if (typeof arn !== 'string' || arn.split(':')[2] !== 'sqs') return undefined;
  const { seconds } = longestInQueue;
  return { seconds: arn.endsWith('.fifo') ? 2 * seconds : seconds, isKnown: false };
}

const daySeconds = 86_400;

/** @see https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SetQueueAttributes.html */
const longestInQueue: Life = { seconds: 14 * daySeconds, isKnown: false };

/** @see https://docs.aws.amazon.com/streams/latest/dev/kinesis-extended-retention.html */
const longestInStreamHours = 8_760;

/** @returns an error for each thing that AWS refuses; what is unwise becomes a warning, which an app can acknowledge */
function checkSources(fn: LambdaFunction, ttl: Duration | undefined): string[] {
  return sourcesOf(fn).flatMap(({ resource, life: { seconds, isKnown }, mapping }) => {
    const ttlSeconds = ttl && knownSeconds(ttl);
    if (resource !== undefined && isKnown && ttlSeconds !== undefined && ttlSeconds < seconds) {
      const kept =
        resource instanceof CfnQueue && resource.redrivePolicy !== undefined
          ? `'${resource.node.path}' and its dead-letter queue keep what is delivered`
          : `'${resource.node.path}' keeps what it delivers`;
      Annotations.of(fn).addWarningV2(
        'idemkit:function:ttl',
        `ttl is ${ttlSeconds} s, shorter than the ${seconds} s for which ${kept}: a record that is delivered again after that would run again. Make ttl at least ${seconds} s, leave it out, or shorten the retention`,
      );
    }
    return resource instanceof CfnQueue ? checkQueue(fn, resource, mapping) : [];
  });
}

function checkQueue(fn: LambdaFunction, queue: CfnQueue, mapping: CfnEventSourceMapping): string[] {
  if (queue.fifoQueue === true) adviseDeadLetterQueue(queue);
  else adviseDeadLetterRetention(queue);
  adviseKey(fn, queue);
  const timeoutSeconds = knownTimeoutSeconds(fn);
  const visibilitySeconds = knownNumber(queue, queue.visibilityTimeout, 30);
  if (timeoutSeconds === undefined || visibilitySeconds === undefined) return [];
  const both = `queue '${queue.node.path}' has a visibility timeout of ${visibilitySeconds} s, and its function '${fn.node.path}' a timeout of ${timeoutSeconds} s`;
  // A window that is a token counts as 0: the warning then asks for less than needed, but never for too much.
  const wantedSeconds =
    6 * timeoutSeconds + (knownNumber(mapping, mapping.maximumBatchingWindowInSeconds, 0) ?? 0);
  const wanted = `Make it at least ${wantedSeconds} s (6 × the timeout, plus the batching window)`;
  if (visibilitySeconds < timeoutSeconds) {
    return [`${both}: Lambda refuses to read a queue whose messages come back sooner. ${wanted}`];
  }
  if (visibilitySeconds < wantedSeconds) {
    Annotations.of(queue).addWarningV2(
      'idemkit:queue:visibility-timeout',
      `${both}: a message could come back before a throttled batch is tried again. ${wanted}`,
    );
  }
  return [];
}

/** Warns where a redriven message would run again although it was done, because it has another id. */
function adviseKey(fn: LambdaFunction, queue: CfnQueue): void {
  if (queue.redrivePolicy === undefined || protections.get(fn)?.namesKey) return;
  const ids = queue.fifoQueue
    ? 'SQS replaces the deduplication id of a message that it moves to a FIFO dead-letter queue'
    : 'a redrive gives a message a new id';
  Annotations.of(fn).addWarningV2(
    'idemkit:function:redrive',
    `queue '${queue.node.path}' has a dead-letter queue, and ${ids}: a message that function '${fn.node.path}' had finished before it got there runs again when it is redriven. Have the guard name the key, such as idempotent(eachRecord(…), { key: messageKey }), and say so with namesKey: true`,
  );
}

/** Warns where a message of a standard queue may expire on its way to the dead-letter queue: it keeps its age. */
function adviseDeadLetterRetention(queue: CfnQueue): void {
  const deadLetterQueue = deadLetterQueueOf(queue, queue.node.root.node.findAll());
  if (deadLetterQueue === undefined) return;
  const [own, dead] = [retentionOf(queue), retentionOf(deadLetterQueue)];
  if (!own.isKnown || !dead.isKnown || dead.seconds > own.seconds) return;
  Annotations.of(queue).addWarningV2(
    'idemkit:queue:dead-letter-retention',
    `queue '${queue.node.path}' keeps a message for ${own.seconds} s and its dead-letter queue for ${dead.seconds} s, counted from when it was sent: a message that is moved late is gone at once. Give the dead-letter queue the longer retentionPeriod`,
  );
}

/** Warns where a message that always fails has nowhere to go. */
export function adviseDeadLetterQueue(queue: CfnQueue): void {
  if (queue.redrivePolicy !== undefined) return;
  Annotations.of(queue).addWarningV2(
    'idemkit:queue:dead-letter-queue',
    `queue '${queue.node.path}' has no dead-letter queue: a message that always fails comes back until it expires, and in a FIFO queue blocks its group. Give it a deadLetterQueue with a maxReceiveCount of 5 or more, or use IdempotentQueue`,
  );
}

/** `undefined` where the timeout is a token. */
const knownTimeoutSeconds = (fn: LambdaFunction): number | undefined =>
  fn.timeout === undefined ? 3 : knownSeconds(fn.timeout);

/** The longest default timeouts of integrations. AWS raises that of a REST API on request. */
const apiTimeoutSeconds = { 'HTTP API': 30, 'REST API': 29 } as const;

/** Warns of APIs that give up before the function does. */
function checkApis(fn: LambdaFunction): string[] {
  const timeoutSeconds = knownTimeoutSeconds(fn);
  if (timeoutSeconds === undefined) return [];
  const addresses = addressesOf(fn);
  const kinds = fn.node.root.node.findAll().flatMap((construct) => {
    if (construct instanceof CfnIntegration) {
      return addresses.isAddress(construct, construct.integrationUri) ? (['HTTP API'] as const) : [];
    }
    if (construct instanceof CfnMethod && construct.integration !== undefined) {
      return addresses.isIn(construct, construct.integration) ? (['REST API'] as const) : [];
    }
    return [];
  });
  for (const kind of new Set(kinds)) {
    const limit = apiTimeoutSeconds[kind];
    if (timeoutSeconds <= limit) continue;
    Annotations.of(fn).addWarningV2(
      'idemkit:function:timeout',
      `the timeout is ${timeoutSeconds} s, and the ${kind} that calls this function gives up after ${limit} s: its callers get an error while the handler runs on. Make the timeout at most ${limit} s, or take the work in with a queue`,
    );
  }
  return [];
}

/** An error for each function that has the table in its environment but may not write to it. Its first call would fail. */
export function checkGrants(table: IConstruct, tableName: string, tableArn: string): string[] {
  const constructs = table.node.root.node.findAll();
  return constructs
    .filter((construct) => construct instanceof CfnFunction)
    .filter((fn) => {
      const variables = Stack.of(fn).resolve(fn.environment)?.variables ?? {};
      return equal(variables[environment.table], Stack.of(fn).resolve(tableName));
    })
    .filter((fn) => !mayWrite(fn, constructs, tableArn))
    .map(
      (fn) =>
        `function '${fn.node.path}' has this table as ${environment.table} and may not write to it: use protect(fn) instead of setting the variable, or grants.guard(fn)`,
    );
}

/** Whether a function may write to the table. Where another app decides that, the answer is yes. */
function mayWrite(fn: CfnFunction, constructs: readonly IConstruct[], tableArn: string): boolean {
  const role = constructs
    .filter((construct) => construct instanceof CfnRole)
    .find((candidate) => areSame(fn, fn.role, candidate.attrArn));
  if (role === undefined) return true;
  const documents: { readonly at: IConstruct; readonly document: unknown }[] = [
    { at: role, document: role.policies },
  ];
  const known = new Set<string>();
  for (const policy of constructs) {
    if (!(policy instanceof CfnPolicy || policy instanceof CfnManagedPolicy)) continue;
    known.add(textOf(role, policy.ref));
    if (mentions(policy, policy.roles, role.ref) || mentions(role, role.managedPolicyArns, policy.ref)) {
      documents.push({ at: policy, document: policy.policyDocument });
    }
  }
  const attached: unknown[] = Stack.of(role).resolve(role.managedPolicyArns) ?? [];
  return (
    attached.some((arn) => !known.has(JSON.stringify(arn)) && !isLambdasOwn(arn)) ||
    documents.some(({ at, document }) =>
      statementsIn(Stack.of(at).resolve(document)).some(
        (statement) =>
          statement.Effect === 'Allow' &&
          allowsToPut(statement.Action) &&
          (hasWildcard(statement.Resource) || mentions(at, statement.Resource, tableArn)),
      ),
    )
  );
}

/** Whether a policy is one of Lambda's own, which allow nothing on a table. */
const isLambdasOwn = (arn: unknown): boolean =>
  JSON.stringify(arn).includes(':policy/service-role/AWSLambda');

interface Statement {
  readonly Effect: string;
  /** Absent where the statement has a `NotAction`. */
  readonly Action?: unknown;
  readonly Resource?: unknown;
}

/** The statements of a policy or of a list of policies. */
function statementsIn(value: unknown): Statement[] {
  if (typeof value !== 'object' || value === null) return [];
  return 'Effect' in value ? [value as Statement] : Object.values(value).flatMap(statementsIn);
}

const putPatterns: readonly unknown[] = ['*', 'dynamodb:*', 'dynamodb:Put*', 'dynamodb:PutItem'];

const allowsToPut = (action: unknown): boolean =>
  action === undefined || [action].flat().some((pattern) => putPatterns.includes(pattern));

const hasWildcard = (resource: unknown): boolean =>
  resource === undefined || JSON.stringify(resource).includes('*');

const equal = (a: unknown, b: unknown): boolean => a !== undefined && JSON.stringify(a) === JSON.stringify(b);

/** Whether two values are the same in the template of `at`. */
const areSame = (at: IConstruct, a: unknown, b: unknown): boolean =>
  equal(Stack.of(at).resolve(a), Stack.of(at).resolve(b));

const textOf = (at: IConstruct, value: unknown): string => JSON.stringify(Stack.of(at).resolve(value)) ?? '';

const mentions = (at: IConstruct, value: unknown, part: unknown): boolean =>
  textOf(at, value).includes(textOf(at, part));
