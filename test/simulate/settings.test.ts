import { describe, expect, test } from 'vitest';
import {
  settingRules,
  settingsFrom,
  sweep,
  sweepValues,
  templateNames,
  templates,
} from '../../lib/simulate/index.ts';

describe('settings', () => {
  test.each(templateNames)('of the template %s are what their rules say', (name) => {
    const { settings } = templates[name];
    expect(Object.keys(settings).sort()).toEqual(Object.keys(settingRules).sort());
    expect(settingsFrom(name)).toEqual(settings);
  });

  test.each([
    [{ operations: 1.5 }, /option `operations` to be a whole number from 1 to 100000000/],
    [{ answerLossRate: -0.1 }, /option `answerLossRate` to be a share from 0 to 1/],
    [{ key: 'uuid' }, /option `key` to be one of uuid-v7, uuid-v4, short, order, constant/],
    [{ level: 'toString' }, /option `level` to be one of/],
    [{ windowSeconds: 0 }, /option `windowSeconds` to be seconds, more than 0/],
    [{ downstreamKnowsTokens: 'yes' }, /true or false/],
    [{ lease: 3 }, /Unknown option `lease`. Did you mean `leaseSeconds`\?/],
  ])('%j are refused by name, with the fix', (changes, message) => {
    expect(() => settingsFrom('webhook', changes as never)).toThrow(message);
  });

  test('of a template that is unknown are refused', () => {
    expect(() => settingsFrom('checkout' as never)).toThrow(/option `template` to be one of pay-button/);
  });
});

describe('a sweep', () => {
  test('has even steps, or equal factors over a long way, and whole numbers where they are asked for', () => {
    expect(sweepValues('maxAttempts', 1, 5, 5)).toEqual([1, 2, 3, 4, 5]);
    expect(sweepValues('maxAttempts', 1, 3, 8)).toEqual([1, 2, 3]);
    expect(sweepValues('answerLossRate', 0, 0.5, 3)).toEqual([0, 0.25, 0.5]);
    expect(sweepValues('windowSeconds', 1, 10_000, 5)).toEqual([1, 10, 100, 1_000, 10_000]);
  });

  test('changes one parameter, and nothing that is drawn', async () => {
    const settings = settingsFrom('pay-button', { operations: 300, answerLossRate: 0.1 });
    const { points } = await sweep(settings, 'windowSeconds', [1, 3_600]);
    expect(points.map(({ value }) => value)).toEqual([1, 3_600]);
    const [short, long] = points.map(({ lanes }) => lanes);
    expect(short?.without).toEqual(long?.without);
    expect(short?.with?.counts.doubleEffects).toBeGreaterThan(long?.with?.counts.doubleEffects ?? 0);
  });

  test('checks all its values before it plays the first one', async () => {
    const settings = settingsFrom('pay-button', { operations: 10 });
    await expect(sweep(settings, 'keyBits', [8, 99])).rejects.toThrow(/option `keyBits`/);
  });
});
