/** One parameter varied, everything else and every draw the same. */
import { IdempotencyError, show } from '../errors.ts';
import type { SimulateOptions, SimulationProgress } from './run.ts';
import { type SimulationSettings, settingRules } from './settings.ts';
import { simulate } from './simulate.ts';
import { settingsFrom } from './templates.ts';

/** Parameters that are numbers. */
export type SweepParameter = {
  [Name in keyof SimulationSettings]: SimulationSettings[Name] extends number ? Name : never;
}[keyof SimulationSettings];

export interface SweepPoint {
  readonly value: number;
  readonly lanes: SimulationProgress['lanes'];
}

export interface SweepReport {
  readonly settings: SimulationSettings;
  readonly parameter: SweepParameter;
  readonly points: readonly SweepPoint[];
}

export interface SweepOptions extends Pick<SimulateOptions, 'signal'> {
  /** @param done how many of the values are done, the one under way by its share */
  readonly onProgress?: (done: number, of: number) => void;
}

/**
 * Values from one to another: evenly spaced, or by equal factors where the last is at least fifty times the first. Whole
 * where the parameter is a whole number.
 *
 * @param steps how many values, from 2 to 100
 * @throws `BAD_OPTION`
 */
export function sweepValues(parameter: SweepParameter, from: number, to: number, steps = 8): number[] {
  if (!Number.isSafeInteger(steps) || steps < 2 || steps > 100) {
    throw new IdempotencyError(
      'BAD_OPTION',
      `Expected the steps of a sweep to be a whole number from 2 to 100, got ${show(steps)}.`,
    );
  }
  const isGeometric = from > 0 && to / from >= 50;
  const isWhole = !settingRules[parameter].isFine(0.5);
  const values = Array.from({ length: steps }, (_, index) => {
    const share = index / (steps - 1);
    const value = isGeometric ? from * (to / from) ** share : from + (to - from) * share;
    return isWhole ? Math.round(value) : Number(value.toPrecision(6));
  });
  return [...new Set(values)];
}

/** @throws `BAD_OPTION` for a value that the parameter may not have; the signal's reason */
export async function sweep(
  settings: SimulationSettings,
  parameter: SweepParameter,
  values: readonly number[],
  { signal, onProgress }: SweepOptions = {},
): Promise<SweepReport> {
  const all = values.map((value) => settingsFrom('pay-button', { ...settings, [parameter]: value }));
  const points: SweepPoint[] = [];
  for (const [index, one] of all.entries()) {
    const { lanes } = await simulate(one, {
      ...(signal && { signal }),
      onProgress: ({ operations }) => onProgress?.(index + operations / one.operations, all.length),
    });
    points.push({ value: one[parameter], lanes });
  }
  return { settings, parameter, points };
}
