/** What `explore` found, in words. */
import type { Moment, Point } from './schedule.ts';

interface Counts {
  readonly name: string;
  /** How often it happens in one clean delivery. */
  readonly expected: number;
  /** The most that a schedule had. */
  readonly most: number;
  /** The least that a schedule had. */
  readonly least: number;
}

/** What became of one effect in all schedules. */
export type EffectReport =
  | (Counts & { readonly verdict: 'as-once' })
  | (Counts & {
      readonly verdict: 'repeated' | 'missing';
      /** The worst schedule. */
      readonly timeLine: readonly Moment[];
      readonly advice: string;
    });

/** What to do about an effect that was repeated. */
export function adviceFor(name: string, points: readonly Point[]): string {
  if (name.startsWith('write to ') || name.startsWith('message to ')) {
    return 'Make it a part of commit(), or of a transaction(), under a claim.';
  }
  const at = points.findIndex(({ label }) => label === `effect ${name}`);
  const next = at === -1 ? undefined : points[at + 1]?.label;
  return next?.startsWith('record step ')
    ? "It is in a step, which a crash repeats before it is recorded. Send the step's token to the service, as its idempotency key; for a service without one use { atMostOnce: true }."
    : "Put it into a step, and send the step's token to the service. If it is a write to DynamoDB or a message, let commit() do it.";
}

interface Found {
  readonly effects: readonly EffectReport[];
  readonly schedules: number;
  readonly isComplete: boolean;
}

const verdicts = { 'as-once': 'as once', repeated: 'REPEATED', missing: 'MISSING' } as const;

export function printed({ effects, schedules, isComplete }: Found): string {
  const rows = effects.map(({ name, expected, most, least, verdict }) => [
    ...[name, String(expected), String(most), String(least)],
    verdicts[verdict],
  ]);
  const details = effects.flatMap((effect) => {
    if (effect.verdict === 'as-once') return [];
    const count = effect.verdict === 'repeated' ? effect.most : effect.least;
    const lines = effect.timeLine.map((moment) => [`${moment.atMs} ms`, `#${moment.delivery}`, moment.what]);
    return ['', `${effect.name}: ${count} instead of ${effect.expected}`, ...table(lines), effect.advice];
  });
  const count = `${schedules} schedules${isComplete ? '' : ', not all: raise maxSchedules'}`;
  return [count, ...table([['effect', 'once', 'most', 'least', 'verdict'], ...rows]), ...details].join('\n');
}

function table(rows: readonly (readonly string[])[]): string[] {
  const widths = (rows[0] ?? []).map((_, column) =>
    rows.reduce((widest, row) => Math.max(widest, row[column]?.length ?? 0), 0),
  );
  return rows.map((row) =>
    `  ${row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join('  ')}`.trimEnd(),
  );
}
