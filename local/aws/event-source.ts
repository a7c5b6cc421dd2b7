import { setTimeout as sleep } from 'node:timers/promises';
import type { Invocation } from './lambda.ts';

/** What both kinds of event source mapping have in common. */
export interface EventSource {
  /** Polls no more. What a function still works on is not settled then. */
  stop(): void;
  /** Resolves after `stop()`, once nothing is under way. */
  readonly ended: Promise<void>;
}

/**
 * Which records of a batch failed, by what became of the invocation. Without `ReportBatchItemFailures` an answer says
 * nothing. With it, an answer that Lambda cannot understand fails the whole batch.
 *
 * An identifier that is none of the batch's fails an SQS batch, says AWS's page; for streams the page does not mention
 * it, and it is taken the same way here.
 *
 * @see https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html
 * @see https://docs.aws.amazon.com/lambda/latest/dg/services-ddb-batchfailurereporting.html
 */
export function failedItems(
  invocation: Invocation,
  items: readonly string[],
  reportsItemFailures: boolean,
): readonly string[] {
  if (invocation.outcome !== 'result') return items;
  if (!reportsItemFailures) return [];
  const answer: unknown = JSON.parse(invocation.payload);
  if (answer === null) return [];
  if (typeof answer !== 'object' || Array.isArray(answer)) return items;
  const { batchItemFailures: failures } = answer as { batchItemFailures?: unknown };
  if (failures === undefined || failures === null) return [];
  if (!Array.isArray(failures)) return items;
  const failed = failures.map((failure) => failure?.itemIdentifier);
  return failed.every((item) => items.includes(item)) ? items.filter((item) => failed.includes(item)) : items;
}

/** Repeats a piece of work until it is stopped, or done. A failure is reported, and the work repeated. */
export async function repeatUntil(
  signal: AbortSignal,
  name: string,
  work: () => Promise<unknown>,
): Promise<void> {
  while (!signal.aborted) {
    try {
      if ((await work()) === 'done') return;
    } catch (error) {
      if (signal.aborted) return;
      process.stderr.write(`${name}: ${error instanceof Error ? error.stack : error}\n`);
      await pause(200, signal);
    }
  }
}

/** Ends early, without an error, when it is stopped. */
export async function pause(ms: number, signal: AbortSignal): Promise<void> {
  await sleep(ms, undefined, { signal }).catch(() => {});
}
