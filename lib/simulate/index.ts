/**
 * Plays invented traffic, or a log of real requests, against the real guard under virtual time, and counts what happens.
 * This room decides what befalls a request, and what is counted. It never decides what a guard does about it, and prints nothing.
 */
export type { LaneCounts, ObservedCounts } from './counts.ts';
export { LogError, type LogFindings } from './log.ts';
export { doubledByCommits, type Metrics } from './metrics.ts';
export { prices } from './prices.ts';
export { type ReplayReport, replay, withoutFaults } from './replay.ts';
export type { LaneReport, SimulateOptions, SimulationProgress, SimulationReport } from './run.ts';
export {
  type KeyKind,
  keyKinds,
  type Level,
  levels,
  type SimulationSettings,
  settingRules,
} from './settings.ts';
export { simulate } from './simulate.ts';
export {
  type SweepOptions,
  type SweepParameter,
  type SweepPoint,
  type SweepReport,
  sweep,
  sweepValues,
} from './sweep.ts';
export { settingsFrom, type Template, type TemplateName, templateNames, templates } from './templates.ts';
export {
  type Actor,
  type LaneName,
  type TimeLine,
  type TimeLineEvent,
  type TimeLineKind,
  timeLineKinds,
} from './time-line.ts';
export { settingWords } from './words.ts';
