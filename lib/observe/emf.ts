import { metric } from '../record.ts';
import { complete, isFunction, type Rules } from '../validate.ts';
import type { IdempotencyEvent } from './events.ts';

/** Options of {@link emf}. */
export interface EmfOptions {
  /**
   * CloudWatch namespace of the metrics: 1 to 255 letters, digits and `._-/#:`, not beginning with a colon.
   *
   * @default 'idemkit'
   */
  readonly metricNamespace?: string;
  /**
   * Prints a line, which includes its newline.
   *
   * @default `process.stdout.write`
   */
  readonly write?: (line: string) => void;
}

/**
 * An observer for the option `observe`. It prints one line for each event, in CloudWatch's embedded metric format, so that
 * CloudWatch makes metrics of Lambda's log without being called.
 *
 * Each event counts 1 under its type. Events that went to the table have their latency too, in milliseconds. The only
 * dimension is the guard's namespace. The line also holds the operation's hash and the attempt, for searches.
 *
 * @see https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
 * @throws `BAD_OPTION`
 */
export function emf(options: EmfOptions = {}): (event: IdempotencyEvent) => void {
  const { metricNamespace, write } = complete(options, rules);

  return (event) => {
    const name = countNames[event.type] ?? event.type;
    const metrics: { Name: string; Unit: string }[] = [];
    const values: Record<string, number> = {};
    const add = (Name: string, value: number, Unit: string) => {
      metrics.push({ Name, Unit });
      values[Name] = value;
    };

    add(name, 1, 'Count');
    if (event.type === 'complete' && event.attempt > 1) add(metric.retrySuccess, 1, 'Count');
    if ('durationMs' in event) {
      const latency = settlings.has(event.type) ? metric.settleLatency : metric.claimLatency;
      add(latency, event.durationMs, 'Milliseconds');
    }
    const line = {
      _aws: {
        Timestamp: event.atMs,
        CloudWatchMetrics: [
          { Namespace: metricNamespace, Dimensions: [[metric.dimension]], Metrics: metrics },
        ],
      },
      // CloudWatch takes no empty dimension, and a disabled guard may have no namespace.
      [metric.dimension]: event.namespace || 'none',
      ...values,
      ...('operation' in event && { operation: event.operation }),
      ...('attempt' in event && { attempt: event.attempt }),
      ...('reason' in event && { reason: event.reason }),
    };
    write(`${JSON.stringify(line)}\n`);
  };
}

const rules = {
  metricNamespace: {
    expected: 'a CloudWatch namespace of 1 to 255 letters, digits and ._-/#:',
    isFine: (value) =>
      typeof value === 'string' && /^[\w.\-/#:]{1,255}$/.test(value) && !value.startsWith(':'),
    fallback: metric.cloudWatchNamespace,
  },
  write: {
    expected: 'a function that takes a line',
    isFine: isFunction,
    // Where Lambda's log format is JSON, console.log would wrap the line in another JSON object.
    fallback: (line) => process.stdout.write(line),
  },
} satisfies Rules<EmfOptions>;

const countNames: Readonly<Record<string, string>> = metric.count;

/** Events whose `durationMs` is the time that recording an outcome took. */
const settlings: ReadonlySet<string> = new Set(['complete', 'release', 'overtaken', 'unrecorded']);
