import { describe, expect, it, vi } from 'vitest';
import { emf, IdempotencyError, type IdempotencyEvent, idempotent } from '../../lib/index.ts';
import { metric } from '../../lib/record.ts';
import { manualClock, memoryStore } from '../../lib/testing.ts';

interface Line {
  readonly _aws: {
    readonly Timestamp: number;
    readonly CloudWatchMetrics: readonly {
      readonly Namespace: string;
      readonly Dimensions: readonly string[][];
      readonly Metrics: readonly { readonly Name: string; readonly Unit: string }[];
    }[];
  };
  readonly [name: string]: unknown;
}

/** The lines, and what CloudWatch would make of them. */
function collect() {
  const lines: Line[] = [];
  const write = (text: string) => {
    expect(text.endsWith('\n')).toBe(true);
    expect(text.slice(0, -1)).not.toContain('\n');
    lines.push(JSON.parse(text));
  };
  const metricsOf = (line: Line) => line._aws.CloudWatchMetrics[0]?.Metrics.map(({ Name }) => Name);
  return { lines, write, names: () => lines.map(metricsOf) };
}

const occurred = { namespace: 'payments', atMs: 1_700_000_000_000 };
const attempted = { operation: 'payments#hash', attempt: 1 };

describe('emf', () => {
  it('prints one line for each event, in the embedded metric format', () => {
    const { lines, write } = collect();
    emf({ write })({ ...occurred, ...attempted, type: 'claim', durationMs: 4.5 });
    expect(lines).toEqual([
      {
        _aws: {
          Timestamp: 1_700_000_000_000,
          CloudWatchMetrics: [
            {
              Namespace: 'idemkit',
              Dimensions: [['namespace']],
              Metrics: [
                { Name: 'Claim', Unit: 'Count' },
                { Name: 'ClaimLatency', Unit: 'Milliseconds' },
              ],
            },
          ],
        },
        namespace: 'payments',
        Claim: 1,
        ClaimLatency: 4.5,
        operation: 'payments#hash',
        attempt: 1,
      },
    ]);
  });

  it('has a value for every metric and every dimension that it announces', () => {
    const { lines, write } = collect();
    const observe = emf({ write });
    for (const event of everyEvent) observe(event);
    for (const line of lines) {
      for (const { Dimensions, Metrics } of line._aws.CloudWatchMetrics) {
        for (const { Name } of Metrics) expect(typeof line[Name], Name).toBe('number');
        for (const name of Dimensions.flat()) expect(line[name], name).toMatch(/\S/);
      }
    }
  });

  it('counts each type of event under its own name', () => {
    const { write, names } = collect();
    const observe = emf({ write });
    for (const event of everyEvent) observe(event);
    const counts: Readonly<Record<string, string>> = metric.count;
    expect(names().map((all) => all?.[0])).toEqual(everyEvent.map(({ type }) => counts[type]));
    expect(new Set(everyEvent.map(({ type }) => type))).toEqual(new Set(Object.keys(counts)));
  });

  it('tells the latency of claiming from that of settling', () => {
    const { write, names } = collect();
    const observe = emf({ write });
    for (const event of everyEvent) observe(event);
    const withLatency = (latency: string) =>
      names().flatMap((all) => (all?.includes(latency) ? [all[0]] : []));
    expect(withLatency(metric.claimLatency)).toEqual([
      'Claim',
      'Takeover',
      'Replay',
      'Busy',
      'Mismatch',
      'Fenced',
      'Gap',
    ]);
    expect(withLatency(metric.settleLatency)).toEqual(['Overtaken', 'Complete', 'Release', 'Unrecorded']);
  });

  it('counts a completion after the first attempt as a retry that succeeded', () => {
    const { write, names } = collect();
    const observe = emf({ write });
    const complete = { ...occurred, type: 'complete', durationMs: 1, runMs: 1, answerBytes: 0 } as const;
    observe({ ...complete, operation: 'a', attempt: 1 });
    observe({ ...complete, operation: 'a', attempt: 2 });
    expect(names()).toEqual([
      ['Complete', 'SettleLatency'],
      ['Complete', 'RetrySuccess', 'SettleLatency'],
    ]);
  });

  it('writes to stdout, as an observer of a guard', async () => {
    const written: string[] = [];
    const spy = vi.spyOn(process.stdout, 'write').mockImplementation((text) => {
      written.push(String(text));
      return true;
    });
    try {
      const clock = manualClock();
      const pay = idempotent(async ({ id }: { id: string; amount: number }) => id, {
        key: ({ id }) => id,
        namespace: 'payments',
        store: memoryStore({ clock }),
        observe: emf({ metricNamespace: 'shop/idempotency' }),
      });
      await pay({ id: 'secret-key', amount: 1 });
      await pay({ id: 'secret-key', amount: 1 });
      const refused = await pay({ id: 'secret-key', amount: 2 }).catch((error) => error);
      expect(IdempotencyError.is(refused, 'PAYLOAD_MISMATCH')).toBe(true);
    } finally {
      spy.mockRestore();
    }
    const lines = written.map((text) => JSON.parse(text) as Line);
    expect(lines.map((line) => line._aws.CloudWatchMetrics[0]?.Metrics[0]?.Name)).toEqual([
      'Claim',
      'Complete',
      'Replay',
      'Mismatch',
    ]);
    expect(lines.map((line) => line._aws.CloudWatchMetrics[0]?.Namespace)).toEqual(
      lines.map(() => 'shop/idempotency'),
    );
    expect(written.join('')).not.toContain('secret-key');
  });

  it('names no empty dimension for a guard without a namespace', () => {
    const { lines, write } = collect();
    emf({ write })({ namespace: '', atMs: 1, type: 'unguarded', reason: 'disabled' });
    expect(lines[0]).toMatchObject({ namespace: 'none', Unguarded: 1, reason: 'disabled' });
  });

  it.each([
    [{ metricNamespace: '' }, /metricNamespace/],
    [{ metricNamespace: 'a b' }, /metricNamespace/],
    [{ write: 'stdout' }, /write/],
    [{ namespace: 'x' }, /namespace/],
  ])('refuses %o', (options, message) => {
    expect(() => emf(options as never)).toThrow(message);
  });
});

const everyEvent: readonly IdempotencyEvent[] = [
  { ...occurred, ...attempted, type: 'claim', durationMs: 1 },
  { ...occurred, ...attempted, type: 'takeover', durationMs: 1, ageMs: 1 },
  { ...occurred, ...attempted, type: 'replay', durationMs: 1, ageMs: 1 },
  { ...occurred, ...attempted, type: 'busy', durationMs: 1, ageMs: 1, leaseLeftMs: 1 },
  { ...occurred, ...attempted, type: 'mismatch', durationMs: 1, ageMs: 1 },
  { ...occurred, type: 'fenced', operation: 'payments#hash', durationMs: 1 },
  { ...occurred, type: 'gap', operation: 'payments#hash', durationMs: 1, expectedNumber: 2 },
  { ...occurred, ...attempted, type: 'overtaken', durationMs: 1, runMs: 1 },
  { ...occurred, ...attempted, type: 'complete', durationMs: 1, runMs: 1, answerBytes: 1 },
  { ...occurred, ...attempted, type: 'release', durationMs: 1, runMs: 1 },
  { ...occurred, ...attempted, type: 'abandon', runMs: 1 },
  { ...occurred, ...attempted, type: 'unrecorded', durationMs: 1, runMs: 1, cause: undefined },
  { ...occurred, ...attempted, type: 'step', name: 'charge', outcome: 'recorded' },
  { ...occurred, type: 'position', operation: 'payments#hash', moved: 3, dropped: 1 },
  { ...occurred, type: 'unguarded', reason: 'no-key' },
];
