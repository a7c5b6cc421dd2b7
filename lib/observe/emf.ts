import { metric } from '../record.ts';
import { check, checkKnown, isFunction } from '../validate.ts';
import type { IdempotencyEvent } from './events.ts';

export interface EmfOptions {
  /** CloudWatch namespace of the metrics. @default 'idemkit' */
  readonly metricNamespace?: string;
  /** Takes a line, its end included. @default process.stdout */
  readonly write?: (line: string) => void;
}

/**
 * An observer (option `observe`) that prints one line for each event in CloudWatch's embedded metric format: Lambda's log becomes metrics
 * without a call to CloudWatch. Each event counts 1 under its type, with the guard's namespace as the only dimension; what went to the table has
 * its latency in milliseconds. The operation's hash and the attempt are in the line, to be searched for, but are no dimensions.
 *
 * @see https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
 * @throws `BAD_OPTION`
 */
export function emf(options: EmfOptions = {}): (event: IdempotencyEvent) => void {
  checkKnown('', options, ['metricNamespace', 'write']);
  const { metricNamespace = metric.cloudWatchNamespace } = options;
  check(
    'metricNamespace',
    metricNamespace,
    'a CloudWatch namespace of 1 to 255 letters, digits and ._-/#:',
    (value) => typeof value === 'string' && /^[\w.\-/#:]{1,255}$/.test(value) && !value.startsWith(':'),
  );
  check('write', options.write, 'a function that takes a line', isFunction);
  // console.log would wrap the line in another JSON where Lambda's log format is JSON.
  const write = options.write ?? ((line: string) => process.stdout.write(line));

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
      // A dimension may not be empty, and a disabled guard may have no namespace.
      [metric.dimension]: event.namespace || 'none',
      ...values,
      ...('operation' in event && { operation: event.operation, attempt: event.attempt }),
      ...('reason' in event && { reason: event.reason }),
    };
    write(`${JSON.stringify(line)}\n`);
  };
}

const countNames: Readonly<Record<string, string>> = metric.count;

/** Events of which `durationMs` is the time that recording an outcome took. */
const settlings: ReadonlySet<string> = new Set(['complete', 'release', 'overtaken', 'unrecorded']);
