import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { main } from '../../lib/command/index.ts';
import { settingRules, settingWords, templateNames } from '../../lib/simulate/index.ts';
import { idemkit } from './terminal.ts';

const folder = mkdtempSync(join(tmpdir(), 'idemkit-simulate-'));
afterAll(() => rmSync(folder, { recursive: true }));

const small = ['--operations=300', '--answer-loss-rate=0.2'];

describe('the command', () => {
  test('shows its commands, and fails without one', async () => {
    expect(await idemkit('--help')).toMatchObject({ exitCode: 0, out: expect.stringContaining('simulate') });
    expect((await idemkit()).exitCode).toBe(2);
  });

  test('refuses an unknown command with the nearest name', async () => {
    const { exitCode, error } = await idemkit('simulat');
    expect(exitCode).toBe(2);
    expect(error).toMatch(/Unknown command "simulat".*simulate/);
  });
});

test('a command that fails itself is told from one that found something', async () => {
  const errors: string[] = [];
  const exitCode = await main(['simulate', '--operations=1'], {
    out: () => {
      throw new Error('The disk is full.');
    },
    error: (text) => errors.push(text),
    isLive: false,
  });
  expect({ exitCode, errors }).toEqual({
    exitCode: 3,
    errors: [expect.stringContaining('The disk is full.')],
  });
});

describe('idemkit simulate', () => {
  test('--help names each template and each parameter with its words', async () => {
    const { exitCode, out } = await idemkit('simulate', '--help');
    expect(exitCode).toBe(0);
    for (const name of templateNames) expect(out).toContain(name);
    for (const words of Object.values(settingWords)) expect(out).toContain(words);
    expect(Object.keys(settingWords)).toEqual(Object.keys(settingRules));
  });

  test('shows both lanes in a table, and how the template was changed', async () => {
    const { exitCode, out, error } = await idemkit('simulate', 'webhook', ...small, '--seed', '7');
    expect({ exitCode, error }).toEqual({ exitCode: 0, error: '' });
    expect(out).toContain('Webhook receiver');
    expect(out).toContain('Changed: --seed=7 --operations=300 --answer-loss-rate=0.2');
    expect(out).toMatch(/double effects +\| [1-9]\d* +\| 0\n/);
    expect(out).toMatch(/duplicate_detection_rate +\| – +\| [\d.]+ %/);
  });

  test('--json prints the report, the same for the same seed', async () => {
    const [one, same] = [
      await idemkit('simulate', ...small, '--json'),
      await idemkit('simulate', ...small, '--json'),
    ];
    expect(one.out).toBe(same.out);
    expect(JSON.parse(one.out)).toMatchObject({
      template: 'pay-button',
      settings: { operations: 300, answerLossRate: 0.2 },
      lanes: { without: { counts: { operations: 300 } }, with: { counts: { operations: 300 } } },
    });
  });

  test('--time-lines shows why an operation was doubled', async () => {
    const { out } = await idemkit('simulate', ...small, '--time-lines=1');
    expect(out).toMatch(/Operation \d+ \(doubled\):\n {2}without, [2-9] effects/);
    expect(out).toContain('effect is charged AGAIN');
    expect(out).toContain('guard answers from the record');
  });

  test('--svg draws the double effects of both lanes', async () => {
    const file = join(folder, 'effects.svg');
    await idemkit('simulate', ...small, '--svg', file);
    const svg = readFileSync(file, 'utf8');
    expect(svg).toContain('Pay button: double effects');
    expect(svg.match(/<polyline/g)).toHaveLength(2);
  });

  test('--sweep shows a row for each value, and draws the metric', async () => {
    const file = join(folder, 'sweep.svg');
    const { exitCode, out } = await idemkit(
      ...['simulate', ...small, '--sweep', 'max-attempts=1..4:4', '--metric=answeredPercent', '--svg', file],
    );
    expect(exitCode).toBe(0);
    const rows = out.split('\n').filter((line) => /^[1-4] +\|/.test(line));
    expect(rows).toHaveLength(4);
    expect(readFileSync(file, 'utf8')).toContain('operations answered, by max-attempts');
  });

  test('--replay plays a log, invents no losses beside it, and shows no key', async () => {
    const file = join(folder, 'log.csv');
    const line = (second: number, key: string) =>
      `2026-01-01T00:00:${String(second).padStart(2, '0')}Z,POST,${key}\r\n`;
    writeFileSync(file, `time,method,key\r\n${line(1, 'secret')}${line(5, 'other')}${line(9, 'secret')}`);
    const { exitCode, out } = await idemkit('simulate', '--replay', file, '--time-lines=20');
    expect(exitCode).toBe(0);
    expect(out).toContain('3 requests with 2 keys');
    expect(out).toMatch(/double effects +\| 1 +\| 0\n/);
    expect(out).not.toContain('secret');
  });

  test('--replay refuses a line by its number, also one that never ends', async () => {
    const file = join(folder, 'bad.csv');
    writeFileSync(file, `time,method,key\n${'secret'.repeat(200_000)}`);
    const { exitCode, out, error } = await idemkit('simulate', '--replay', file);
    expect({ exitCode, out }).toEqual({ exitCode: 2, out: '' });
    expect(error).toMatch(/bad\.csv: Line 2: has more than 65536 characters\.\n$/);
    expect(error).not.toContain('secret');
  });

  test.each([
    ['a log that is not there', ['--replay=/no/such/log'], /could not be read \(ENOENT\)/],
    ['a log and a sweep', ['--replay=x', '--sweep=key-bits=1..9'], /exclude each other/],
    ['a template that is unknown', ['pay-buton'], /Unknown template "pay-buton"\. Did you mean pay-button\?/],
    ['two templates', ['webhook', 'pay-button'], /one template/],
    [
      'an option that is unknown',
      ['--operation=3'],
      /Unknown option --operation\. Did you mean --operations\?/,
    ],
    ['a short option', ['-x'], /Unknown option -x/],
    ['an option without its value', ['--seed'], /Option --seed has no value/],
    ['an option that is given twice', ['--seed=1', '--seed=2'], /given twice/],
    ['a flag with a value', ['--json=yes'], /takes no value/],
    ['a number that is none', ['--operations=many'], /--operations to be a whole number .* got "many"/],
    [
      'a share beyond 1',
      ['--answer-loss-rate=1.5'],
      /--answer-loss-rate to be a share from 0 to 1.* got "1.5"/,
    ],
    ['a word that is none of those known', ['--level=strict'], /--level to be one of none, guarded/],
    ['a sweep without an end', ['--sweep=lease-seconds=1'], /PARAMETER=FROM\.\.TO/],
    ['a sweep of words', ['--sweep=level=1..2'], /no parameter "level" with numbers/],
    ['a sweep beyond the bounds', ['--sweep=key-bits=1..99'], /key-bits to be a whole number from 1 to 48/],
    ['a sweep of too many steps', ['--sweep=key-bits=1..9:999'], /whole number from 2 to 100/],
    ['a metric that is unknown', ['--metric=doubles'], /Unknown --metric "doubles"/],
    [
      'a file that cannot be written',
      ['--operations=1', '--svg=/no/such/place.svg'],
      /could not be written \(ENOENT\)/,
    ],
  ])('refuses %s, with the fix', async (_, args, message) => {
    const { exitCode, out, error } = await idemkit('simulate', ...args);
    expect({ exitCode, error }).toEqual({ exitCode: 2, error: expect.stringMatching(message) });
    if (!args.includes('--operations=1')) expect(out).toBe('');
  });
});
