/** Which numbers and names of a queue are refused, because SQS, Lambda or EventBridge would refuse them. */
import { Duration, Token } from 'aws-cdk-lib';
import { knownSeconds } from './known.ts';

/** A token counts as whole, because its value is known only when it is deployed. */
const isWhole = (value: number, from: number, to: number): boolean =>
  Token.isUnresolved(value) || (Number.isInteger(value) && value >= from && value <= to);

/** A number to compare with; NaN for a token, with which every comparison is false. */
export const known = (value: number): number => (Token.isUnresolved(value) ? Number.NaN : value);

/** The properties of a queue that must fit each other. */
interface QueueNumbers {
  readonly maxBatchingWindow?: Duration;
  readonly queueName?: string;
  readonly retentionPeriod?: Duration;
  readonly deadLetterRetentionPeriod?: Duration;
  readonly contentBasedDeduplication?: boolean;
  readonly highThroughput?: boolean;
}

/** @throws Error for a property that is out of range or contradicts another */
export function checkQueue(
  props: QueueNumbers,
  { fifo, batchSize, maxReceiveCount }: { fifo: boolean; batchSize: number; maxReceiveCount: number },
): void {
  const { maxBatchingWindow, queueName, retentionPeriod, deadLetterRetentionPeriod } = props;
  const refuse = (message: string): never => {
    throw new Error(message);
  };
  const windowSeconds = maxBatchingWindow === undefined ? 0 : (knownSeconds(maxBatchingWindow) ?? Number.NaN);
  if (fifo && !isWhole(batchSize, 1, 10)) {
    refuse(
      `batchSize is ${batchSize}, and Lambda takes 1 to 10 messages at once from a FIFO queue: use at most 10`,
    );
  }
  if (!isWhole(batchSize, 1, 10_000)) refuse(`batchSize is ${batchSize}: use 1 to 10,000`);
  if (known(batchSize) > 10 && windowSeconds === 0) {
    refuse(
      `batchSize is ${batchSize}, and more than 10 need a window to collect them in: add maxBatchingWindow: Duration.seconds(1)`,
    );
  }
  if (fifo && windowSeconds > 0) {
    refuse(
      `maxBatchingWindow is ${windowSeconds} s, and a FIFO queue has none: leave it out, or use fifo: false`,
    );
  }
  if (windowSeconds > 300) refuse(`maxBatchingWindow is ${windowSeconds} s: use at most 300 s`);
  if (!isWhole(maxReceiveCount, 1, 1_000)) refuse(`maxReceiveCount is ${maxReceiveCount}: use 5 to 1,000`);
  const retentionSeconds = knownSeconds(retentionPeriod ?? Duration.days(4));
  const deadLetterSeconds = knownSeconds(deadLetterRetentionPeriod ?? Duration.days(14));
  if (!fifo && retentionSeconds !== undefined && deadLetterSeconds !== undefined) {
    if (deadLetterSeconds <= retentionSeconds) {
      refuse(
        `deadLetterRetentionPeriod is ${deadLetterSeconds} s and retentionPeriod ${retentionSeconds} s: a message keeps its age when a standard queue moves it, so it could expire on the way. Make deadLetterRetentionPeriod the longer one, and retentionPeriod at most 13 days`,
      );
    }
  }
  for (const name of ['contentBasedDeduplication', 'highThroughput'] as const) {
    if (!fifo && props[name])
      refuse(`${name} is true, and only FIFO queues have it: leave out fifo: false, or ${name}`);
  }
  if (queueName !== undefined && !Token.isUnresolved(queueName) && queueName.endsWith('.fifo') !== fifo) {
    refuse(
      `queueName is '${queueName}' and fifo is ${fifo}: the names of FIFO queues, and only these, end in .fifo`,
    );
  }
}

/** @throws Error for a number that EventBridge would refuse */
export function checkRetries({
  retryAttempts,
  maxEventAge,
}: {
  readonly retryAttempts?: number;
  readonly maxEventAge?: Duration;
}): void {
  if (retryAttempts !== undefined && !isWhole(retryAttempts, 0, 185)) {
    throw new Error(`retryAttempts is ${retryAttempts}: use 0 to 185`);
  }
  const seconds = maxEventAge && knownSeconds(maxEventAge);
  if (seconds !== undefined && !isWhole(seconds, 60, 86_400)) {
    throw new Error(`maxEventAge is ${seconds} s: use 60 s to 86,400 s`);
  }
}
