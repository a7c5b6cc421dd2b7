/** What every part of the bench shares: rounds in turn, spread, progress. */
import type { Chart as DrawnChart } from '../lib/svg-chart.ts';

/** Median and quartiles. */
export interface Spread {
  readonly median: number;
  readonly lower: number;
  readonly upper: number;
}

export const contenderNames = ['idemkit', 'peer'] as const;
export type ContenderName = (typeof contenderNames)[number];

/** One line of the table. A contender that cannot do it has no figure. */
export interface Row {
  readonly what: string;
  readonly unit: string;
  readonly idemkit?: Spread;
  readonly peer?: Spread;
  /** Of the figures of each round: idemkit's by the peer's. */
  readonly ratio?: Spread;
  /** Why a figure is missing, or what to read it with. */
  readonly note?: string;
}

export interface Chart extends DrawnChart {
  /** Of the file, without its ending. */
  readonly name: string;
}

export interface Findings {
  readonly rows: readonly Row[];
  readonly charts?: readonly Chart[];
}

export interface Bench {
  /** Fewer rounds and smaller sizes: figures to look at, not to compare. */
  readonly quick: boolean;
  /** Replaces the line that says what is being done. */
  progress(text: string): void;
}

export interface Part {
  /** For `--only`. */
  readonly name: string;
  readonly title: string;
  run(bench: Bench): Promise<Findings>;
}

export type Samples = Record<ContenderName, readonly number[]>;

/** The quantile `share` of `values`, between neighbours where it falls between them. */
export function quantile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((left, right) => left - right);
  const at = (sorted.length - 1) * share;
  const below = sorted[Math.floor(at)] ?? Number.NaN;
  const above = sorted[Math.ceil(at)] ?? Number.NaN;
  return below + (above - below) * (at - Math.floor(at));
}

export const median = (values: readonly number[]): number => quantile(values, 0.5);

export const spreadOf = (values: readonly number[]): Spread => ({
  median: median(values),
  lower: quantile(values, 0.25),
  upper: quantile(values, 0.75),
});

/** A row from the samples of each round. */
export function compare(what: string, unit: string, samples: Samples, note?: string): Row {
  const ratios = samples.idemkit.map((ours, round) => ours / (samples.peer[round] ?? Number.NaN));
  return {
    what,
    unit,
    idemkit: spreadOf(samples.idemkit),
    peer: spreadOf(samples.peer),
    ratio: spreadOf(ratios),
    ...(note !== undefined && { note }),
  };
}

export const exactly = (value: number): Spread => ({ median: value, lower: value, upper: value });

/** A row of figures that have no spread: they are counted, not timed. */
export function counted(what: string, unit: string, ours: number, theirs?: number, note?: string): Row {
  return {
    what,
    unit,
    idemkit: exactly(ours),
    ...(theirs !== undefined && {
      peer: exactly(theirs),
      ...(theirs !== 0 && { ratio: exactly(ours / theirs) }),
    }),
    ...(note !== undefined && { note }),
  };
}

/**
 * Measures both contenders in each round, who goes first in turn, so that whatever else the machine does meets both.
 *
 * @param measure is called once for each contender and round
 */
export async function inTurn(
  rounds: number,
  measure: (contender: ContenderName, round: number) => Promise<number>,
): Promise<Samples> {
  const samples: Record<ContenderName, number[]> = { idemkit: [], peer: [] };
  for (let round = 0; round < rounds; round++) {
    for (const contender of orderIn(round)) samples[contender].push(await measure(contender, round));
  }
  return samples;
}

export const orderIn = (round: number): readonly ContenderName[] =>
  round % 2 === 0 ? contenderNames : [...contenderNames].reverse();

/** Microseconds of this process's computing that a call takes, one call after the other. */
export async function cpuMicrosecondsPer(
  calls: number,
  call: (index: number) => Promise<unknown>,
): Promise<number> {
  const before = process.cpuUsage();
  for (let index = 0; index < calls; index++) await call(index);
  const { user, system } = process.cpuUsage(before);
  return (user + system) / calls;
}
