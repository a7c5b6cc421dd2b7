/** What is wrong or unwise about the callers of a function: its queues, its streams and its APIs. Complete at synthesis only. */
import { Annotations, type Duration } from 'aws-cdk-lib';
import { CfnMethod } from 'aws-cdk-lib/aws-apigateway';
import { CfnIntegration } from 'aws-cdk-lib/aws-apigatewayv2';
import type { CfnEventSourceMapping, Function as LambdaFunction } from 'aws-cdk-lib/aws-lambda';
import { CfnQueue } from 'aws-cdk-lib/aws-sqs';
import { addressesOf } from './addresses.ts';
import { knownNumber, knownSeconds } from './known.ts';
import { checkPositions } from './position-checks.ts';
import { deadLetterQueueOf, retentionOf, sourcesOf } from './sources.ts';

/** @returns an error for each thing that AWS refuses; what is unwise becomes a warning, which an app can acknowledge */
export function checkSources(
  fn: LambdaFunction,
  ttl: Duration | undefined,
  { namesKey, keepsPositions }: { readonly namesKey: boolean; readonly keepsPositions: boolean },
): string[] {
  const ofPositions = keepsPositions ? checkPositions(fn) : [];
  return [...ofPositions, ...checkLives(fn, ttl, namesKey || keepsPositions)];
}

function checkLives(fn: LambdaFunction, ttl: Duration | undefined, namesKey: boolean): string[] {
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
    return resource instanceof CfnQueue ? checkQueue(fn, resource, mapping, namesKey) : [];
  });
}

function checkQueue(
  fn: LambdaFunction,
  queue: CfnQueue,
  mapping: CfnEventSourceMapping,
  namesKey: boolean,
): string[] {
  if (queue.fifoQueue === true) adviseDeadLetterQueue(queue);
  else adviseDeadLetterRetention(queue);
  if (!namesKey) adviseKey(fn, queue);
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
  if (queue.redrivePolicy === undefined) return;
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
export function checkApis(fn: LambdaFunction): string[] {
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
