import { complete, type Rules } from '../validate.ts';
import { oneOf, type SimulationSettings, settingRules } from './settings.ts';

export interface Template {
  readonly title: string;
  /** What it models, in a sentence. */
  readonly description: string;
  readonly settings: SimulationSettings;
}

export const templateNames = ['pay-button', 'webhook', 'order-queue', 'ledger-stream'] as const;
export type TemplateName = (typeof templateNames)[number];

const common: SimulationSettings = {
  seed: 1,
  operations: 10_000,
  arrivalsPerSecond: 50,
  burstSize: 1,
  delivery: 'client',
  maxAttempts: 4,
  clientTimeoutMs: 5_000,
  backoffMs: 500,
  backoffMaxMs: 8_000,
  visibilityTimeoutMs: 30_000,
  doubleSendRate: 0,
  doubleSendGapMs: 250,
  networkP50Ms: 30,
  networkP99Ms: 250,
  requestLossRate: 0.005,
  answerLossRate: 0.01,
  lateRate: 0.002,
  lateMs: 20_000,
  environments: 20,
  clockSkewMs: 200,
  functionTimeoutMs: 10_000,
  handlerP50Ms: 120,
  handlerP99Ms: 900,
  crashBeforeRate: 0.001,
  crashAfterRate: 0.001,
  throwRate: 0.002,
  overrunRate: 0.001,
  key: 'uuid-v7',
  keyBits: 16,
  repeatedOrderRate: 0,
  level: 'guarded',
  cacheItems: 0,
  windowSeconds: 86_400,
  leaseSeconds: 0,
  waitForResultMs: 0,
  downstreamKnowsTokens: true,
  storeP50Ms: 4,
  storeP99Ms: 20,
  answerBytes: 200,
};

/** Where to start from. Each is a whole set of parameters; none is a measurement of anybody's traffic. */
export const templates: Readonly<Record<TemplateName, Template>> = {
  'pay-button': {
    title: 'Pay button',
    description:
      'People on phones click twice and lose their connection; the browser asks again, with one UUID for each click.',
    settings: { ...common, doubleSendRate: 0.03, waitForResultMs: 3_000 },
  },
  webhook: {
    title: 'Webhook receiver',
    description:
      'A provider sends each event until it gets an answer, with long pauses, and sends some of them twice.',
    settings: {
      ...common,
      arrivalsPerSecond: 20,
      burstSize: 5,
      maxAttempts: 8,
      clientTimeoutMs: 10_000,
      backoffMs: 5_000,
      backoffMaxMs: 600_000,
      doubleSendRate: 0.01,
      doubleSendGapMs: 1_500,
      key: 'uuid-v4',
      level: 'stepped',
      cacheItems: 1_000,
    },
  },
  'order-queue': {
    title: 'Order queue',
    description:
      'Messages of a queue are delivered at least once, and again after their visibility timeout; the key is the order’s number.',
    settings: {
      ...common,
      arrivalsPerSecond: 100,
      delivery: 'queue',
      maxAttempts: 5,
      visibilityTimeoutMs: 60_000,
      doubleSendRate: 0.005,
      doubleSendGapMs: 2_000,
      networkP50Ms: 5,
      networkP99Ms: 40,
      requestLossRate: 0,
      answerLossRate: 0.004,
      handlerP50Ms: 250,
      handlerP99Ms: 3_000,
      crashBeforeRate: 0.002,
      crashAfterRate: 0.002,
      overrunRate: 0.003,
      key: 'order',
      level: 'stepped',
      environments: 50,
    },
  },
  'ledger-stream': {
    title: 'Ledger stream',
    description:
      'Records of a stream come in bursts and are read again after every failure; entries and completion are one transaction.',
    settings: {
      ...common,
      arrivalsPerSecond: 200,
      burstSize: 50,
      delivery: 'queue',
      maxAttempts: 20,
      visibilityTimeoutMs: 15_000,
      networkP50Ms: 3,
      networkP99Ms: 15,
      requestLossRate: 0,
      answerLossRate: 0.01,
      lateRate: 0,
      handlerP50Ms: 20,
      handlerP99Ms: 120,
      crashBeforeRate: 0.002,
      crashAfterRate: 0.004,
      overrunRate: 0.002,
      key: 'uuid-v7',
      level: 'committed',
      environments: 50,
      answerBytes: 20,
    },
  },
};

/**
 * A template's settings with some of them changed.
 *
 * @param template a name of `templates`
 * @throws `BAD_OPTION`, which names the parameter, what was given and what it must be
 */
export function settingsFrom(
  template: TemplateName = 'pay-button',
  changes: Partial<SimulationSettings> = {},
): SimulationSettings {
  complete({ template }, templateRule);
  complete(changes, settingRules);
  const given = Object.entries(changes).filter(([, value]) => value !== undefined);
  return Object.freeze({ ...templates[template].settings, ...Object.fromEntries(given) });
}

const templateRule = { template: oneOf(...templateNames) } satisfies Rules<{ template: string }>;
