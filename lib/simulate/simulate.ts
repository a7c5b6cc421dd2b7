import { points, Run, type SimulateOptions, type SimulationReport } from './run.ts';
import type { SimulationSettings } from './settings.ts';
import { settingsFrom } from './templates.ts';
import { withPlaces } from './time/timers.ts';
import { gapMs, intentOf } from './traffic.ts';

/**
 * Plays invented traffic against the real engine, without a guard and with one. The same settings give the same report.
 *
 * @throws `BAD_OPTION` for settings that are not what `settingRules` says; the signal's reason
 */
export async function simulate(
  given: SimulationSettings,
  options: SimulateOptions = {},
): Promise<SimulationReport> {
  const settings = settingsFrom('pay-button', given);
  return withPlaces(async () => {
    const run = new Run(settings, options);
    arrive(run, 0, Math.ceil(settings.operations / (points - 1)));
    return run.report();
  });
}

function arrive(run: Run, number: number, markEvery: number): void {
  const { settings, draws, time, lanes } = run;
  const intent = intentOf(settings, draws, number, time.nowMs);
  for (const lane of lanes) lane.begin(intent);
  const next = number + 1;
  if (next % markEvery === 0) run.mark();
  if (next < settings.operations) {
    time.after(gapMs(settings, draws, next), () => arrive(run, next, markEvery));
  }
}
