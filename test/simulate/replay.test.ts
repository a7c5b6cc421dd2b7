import { describe, expect, test } from 'vitest';
import {
  LogError,
  type ReplayReport,
  replay,
  type SimulationSettings,
  settingsFrom,
  withoutFaults,
} from '../../lib/simulate/index.ts';

const played = (lines: readonly string[], changes: Partial<SimulationSettings> = {}): Promise<ReplayReport> =>
  replay(lines, settingsFrom('pay-button', { ...withoutFaults, waitForResultMs: 0, ...changes }));

const head = 'time,method,key';
const at = (second: number): string => new Date(Date.UTC(2026, 4, 1, 12, 0, second)).toISOString();

describe('a replayed log', () => {
  test('has the duplicates that can be counted in it', async () => {
    const { lanes, log, operations, seconds } = await played([
      head,
      `${at(0)},POST,a`,
      `${at(10)},POST,b`,
      // Two repeats of a call that is over, and one with a key of its own.
      `${at(20)},POST,a`,
      `${at(30)},POST,a`,
      `${at(40)},POST,c`,
      `${at(50)},GET,a`,
      `${at(60)},POST,`,
    ]);
    expect(log).toEqual({ requests: 7, otherMethods: 1, withoutKey: 1, outOfOrder: 0, forgotten: 0 });
    expect(operations).toBe(3);
    expect(seconds).toBeGreaterThanOrEqual(40);
    expect(lanes.without.counts).toMatchObject({ calls: 5, repeats: 2, effects: 5, doubleEffects: 2 });
    expect(lanes.without.counts).toMatchObject({ doubledOperations: 1, answered: 3 });
    expect(lanes.with?.counts).toMatchObject({
      calls: 5,
      runs: 3,
      effects: 3,
      doubleEffects: 0,
      answered: 3,
    });
    expect(lanes.with?.metrics.duplicate_detection_rate).toBeCloseTo((100 * 2) / 5);
  });

  test('is read from JSON lines too, with epoch times, and gives the same metrics', async () => {
    const csv = [head, `${at(0)},post,a`, `${at(1)},POST,"a"`, `"${at(7)}",PATCH,"b, ""c"""`];
    const seconds = Date.parse(at(0)) / 1000;
    const json = [
      { time: seconds, method: 'POST', key: 'a', more: [1] },
      { time: (seconds + 1) * 1000, method: 'POST', key: 'a' },
      { time: at(7), method: 'PATCH', key: 'b, "c"' },
    ].map((one) => JSON.stringify(one));
    const [fromCsv, fromJson] = [await played(csv), await played(json)];
    expect(fromCsv.lanes.without.counts.calls).toBe(3);
    expect(fromJson).toEqual(fromCsv);
  });

  test('tells a key that was used again with another payload, where the log tells payloads apart', async () => {
    const { lanes } = await played([
      'time,method,key,fingerprint',
      ...[`${at(0)},POST,a,x`, `${at(10)},POST,a,x`, `${at(20)},POST,a,y`, `${at(30)},POST,b,y`],
    ]);
    expect(lanes.with?.counts.observed).toMatchObject({ claim: 2, replay: 1, mismatch: 1 });
    expect(lanes.with?.metrics.idempotency_key_collision_pct).toBe(25);
  });

  test('runs a key again whose window is over', async () => {
    const lines = [head, `${at(0)},POST,a`, `${at(30)},POST,a`];
    const ofWindow = async (windowSeconds: number) =>
      (await played(lines, { windowSeconds })).lanes.with?.counts;
    expect(await ofWindow(60)).toMatchObject({ runs: 1, observed: { replay: 1 } });
    expect(await ofWindow(10)).toMatchObject({ runs: 2, observed: { replay: 0 } });
  });

  test('plays what is logged late together with what came after it, and says so', async () => {
    const { log, lanes } = await played([head, `${at(10)},POST,a`, `${at(0)},POST,b`, `${at(20)},POST,c`]);
    expect(log.outOfOrder).toBe(1);
    expect(lanes.without.counts.calls).toBe(3);
  });

  test('is played in pieces, and shows no key anywhere', async () => {
    function* many() {
      yield head;
      for (let index = 0; index < 3_500; index++)
        yield `${1_780_000_000 + index},POST,secret-${index % 1_000}`;
    }
    const marks: number[] = [];
    const report = await replay(many(), settingsFrom('pay-button', withoutFaults), {
      onProgress: ({ lanes }) => marks.push(lanes.without.counts.calls),
    });
    expect(marks.length).toBeGreaterThan(3);
    expect(report.lanes.without.counts).toMatchObject({
      calls: 3_500,
      operations: 1_000,
      doubleEffects: 2_500,
    });
    expect(JSON.stringify(report)).not.toContain('secret');
  });

  test.each([
    ['no head and no JSON', ['hello'], 1, /no column `time`/],
    ['a head without keys', ['time,method'], 1, /no column `key`/],
    ['too few fields', [head, `${at(0)},POST`], 2, /has 2 fields, and the head has 3/],
    ['a quote that is open', [head, `${at(0)},POST,"secret`], 2, /quote that is not closed/],
    ['text after a quote', [head, `${at(0)},POST,"secret"x`], 2, /after a closing quote/],
    ['a time that is none', [head, 'secret,POST,a'], 2, /its time is neither/],
    ['a time that does not exist', [head, '2026-13-99T99:99,POST,a'], 2, /its time is neither/],
    ['a method that is none', [head, `${at(0)},P0ST secret,a`], 2, /its method is no HTTP method/],
    ['JSON that ends too early', ['{"time":1,"method":"POST","key":"secret"'], 1, /is no JSON/],
    ['JSON that is no object', [`{"time":1,"method":"POST","key":"a"}`, '["secret"]'], 2, /no JSON object/],
    ['a key that is an object', ['{"time":1,"method":"POST","key":{"secret":1}}'], 1, /its key is neither/],
    ['members of the prototype', ['{"__proto__":{"time":1,"method":"POST","key":"a"}}'], 1, /method/],
    ['a line that is too long', [head, 'x'.repeat(70_000)], 2, /more than 65536 characters/],
  ])('is refused by line for %s, without showing it', async (_, lines, line, message) => {
    const error = await played(lines).catch((caught: unknown) => caught);
    expect(error).toBeInstanceOf(LogError);
    expect(error).toMatchObject({ line, message: expect.stringMatching(message) });
    expect((error as Error).message).toMatch(new RegExp(`^Line ${line}: `));
    expect((error as Error).message).not.toContain('secret');
  });
});
