/** The parameters that have a slider, in groups. All others stay as the template has them. */
import { keyKinds, levels, type SimulationSettings } from '../../simulate/index.ts';

type NumberName = {
  [Name in keyof SimulationSettings]: SimulationSettings[Name] extends number ? Name : never;
}[keyof SimulationSettings];

export interface Slider {
  readonly kind: 'slider';
  readonly name: NumberName;
  readonly label: string;
  readonly stops: readonly number[];
  show(value: number): string;
}

export interface Choice {
  readonly kind: 'choice';
  readonly name: 'level' | 'key';
  readonly label: string;
  readonly values: readonly string[];
}

export type Control = Slider | Choice;

const shares = [0, 0.001, 0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.3, 0.5];
const percent = (value: number): string => `${Number((value * 100).toPrecision(3))} %`;
const count = (value: number): string => value.toLocaleString('en');
const times = (value: number): string => (value === 1 ? 'once' : `${value} times`);
const units = [
  { ms: 86_400_000, name: 'd' },
  { ms: 3_600_000, name: 'h' },
  { ms: 60_000, name: 'min' },
  { ms: 1_000, name: 's' },
];
export function duration(ms: number): string {
  const unit = units.find((one) => ms >= one.ms);
  return unit ? `${Number((ms / unit.ms).toPrecision(3))} ${unit.name}` : `${Number(ms.toPrecision(3))} ms`;
}
const milliseconds = [0, 100, 250, 500, 1_000, 2_000, 3_000, 5_000, 10_000, 20_000, 30_000, 60_000, 600_000];

const slider = (
  name: NumberName,
  label: string,
  stops: readonly number[],
  show: (value: number) => string,
): Slider => ({ kind: 'slider', name, label, stops, show });

export const groups: readonly { readonly title: string; readonly controls: readonly Control[] }[] = [
  {
    title: 'Guard',
    controls: [
      { kind: 'choice', name: 'level', label: 'How the handler is written', values: levels },
      { kind: 'choice', name: 'key', label: 'Key', values: keyKinds },
      slider('keyBits', 'Length of short keys', [4, 8, 12, 16, 20, 24, 32, 40, 48], (bits) => `${bits} bits`),
      slider(
        'windowSeconds',
        'How long a key is remembered',
        [1, 10, 60, 300, 3_600, 86_400, 604_800],
        (seconds) => duration(seconds * 1_000),
      ),
      slider('leaseSeconds', 'Lease', [0, 0.5, 1, 2, 5, 10, 30, 60, 300], (seconds) =>
        seconds === 0 ? 'remaining time of the function' : duration(seconds * 1_000),
      ),
      slider('waitForResultMs', 'A repeat waits for the running call', milliseconds.slice(0, 10), (ms) =>
        ms === 0 ? 'not at all' : duration(ms),
      ),
      slider('cacheItems', 'Answers cached in each environment', [0, 10, 100, 1_000, 10_000], count),
    ],
  },
  {
    title: 'Retries',
    controls: [
      slider('maxAttempts', 'An operation is sent at most', [1, 2, 3, 4, 5, 8, 12, 20], times),
      slider('clientTimeoutMs', 'A caller waits for an answer', milliseconds.slice(1), duration),
      slider('backoffMs', 'First pause of a caller', milliseconds, duration),
      slider('doubleSendRate', 'Sent twice at once', shares, percent),
      slider('doubleSendGapMs', 'Gap of a double sending', milliseconds.slice(0, 10), duration),
    ],
  },
  {
    title: 'Network',
    controls: [
      slider('requestLossRate', 'Requests lost', shares, percent),
      slider('answerLossRate', 'Answers lost', shares, percent),
      slider('lateRate', 'Requests and answers that come late', shares, percent),
    ],
  },
  {
    title: 'Functions',
    controls: [
      slider(
        'handlerP50Ms',
        'Time of the handler, median',
        [5, 20, 50, 120, 250, 500, 1_000, 3_000],
        duration,
      ),
      slider('crashBeforeRate', 'Crashes before the charge', shares, percent),
      slider('crashAfterRate', 'Crashes after the charge', shares, percent),
      slider('throwRate', 'Throws after the charge', shares, percent),
      slider('overrunRate', 'Hangs after the charge, until it is killed', shares, percent),
      slider('clockSkewMs', 'Clocks differ by', [0, 100, 200, 500, 1_000, 5_000, 30_000], duration),
    ],
  },
  {
    title: 'Traffic',
    controls: [
      slider(
        'operations',
        'Operations',
        [100, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000, 200_000],
        count,
      ),
      slider('arrivalsPerSecond', 'Operations a second', [1, 5, 10, 20, 50, 100, 200, 500, 1_000], count),
      slider('burstSize', 'Operations at the same moment', [1, 2, 5, 10, 20, 50, 100], count),
      slider('environments', 'Warm environments', [1, 2, 5, 10, 20, 50, 100, 500], count),
    ],
  },
];

export const words: Readonly<Record<string, string>> = {
  none: 'none: without idemkit',
  guarded: 'guarded: the handler alone',
  stepped: 'stepped: the charge is a step',
  committed: 'committed: the charge is a write of the commit',
  'uuid-v7': 'UUID, version 7',
  'uuid-v4': 'UUID, version 4',
  short: 'a short random number',
  order: "the order's number",
  constant: 'the same for everybody',
};

/** The stop that is nearest to a value. */
export function nearestStop(stops: readonly number[], value: number): number {
  let nearest = 0;
  for (const [index, stop] of stops.entries()) {
    if (Math.abs(stop - value) < Math.abs((stops[nearest] ?? 0) - value)) nearest = index;
  }
  return nearest;
}
