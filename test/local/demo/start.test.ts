import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { paginateListTables } from '@aws-sdk/client-dynamodb';
import { describe, expect, test } from 'vitest';
import { clientFor, dynamodbEndpoint } from '../../support/dynamodb.ts';

const script = fileURLToPath(new URL('../../../local/demo/start.ts', import.meta.url));

interface Started {
  readonly child: ChildProcess;
  /** What it has printed so far. */
  output(): string;
  readonly exitCode: Promise<number | null>;
}

function start(flags: readonly string[], endpoint = dynamodbEndpoint()): Started {
  const env = { ...process.env, DYNAMODB_ENDPOINT: endpoint };
  const child = spawn(process.execPath, [script, ...flags], { env, stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text: string) => {
      output += text;
    });
  }
  const exitCode = once(child, 'close').then(([code]) => code as number | null);
  return { child, output: () => output, exitCode };
}

async function tableNames(): Promise<string[]> {
  const names: string[] = [];
  for await (const page of paginateListTables({ client: clientFor(dynamodbEndpoint()) }, {})) {
    names.push(...(page.TableNames ?? []));
  }
  return names;
}

/** The rows of the printed table, wrapped cells put together again. */
function rowsOf(output: string): string[][] {
  const table = output.slice(output.indexOf('\nscenario '), output.indexOf('\n\n(1)'));
  return table
    .split(/\n-[-+]*\n/)
    .slice(1)
    .map((row) => {
      const lines = row.split('\n').map((line) => line.split(' | ').map((cell) => cell.trim()));
      return (lines[0] ?? []).map((_, column) =>
        lines.flatMap((line) => (line[column] ? [line[column]] : [])).join(' '),
      );
    });
}

/** The rows of the second table, one line each but where the client had to ask often. */
function killsOf(output: string): string[][] {
  const table = output.slice(output.indexOf('\nkilled part '), output.indexOf('\n\nAll 23'));
  return table
    .trim()
    .split('\n')
    .slice(2)
    .map((line) => line.split(' | ').map((cell) => cell.trim()))
    .filter(([role]) => role !== '');
}

const oneOfEach = '1 charge, 1 order, 1 entry';

const withoutGuarantee = ([scenario, runs, effects, answers, _, ok]: string[]): unknown[] => [
  scenario,
  runs,
  effects,
  answers,
  ok,
];

describe('npm start', { timeout: 600_000 }, () => {
  test('plays every scenario as guaranteed, serves until it is interrupted and leaves nothing behind', async () => {
    const { child, output, exitCode } = start(['--serve']);
    try {
      await Promise.race([
        exitCode,
        expect.poll(output, { timeout: 580_000 }).toContain('Ctrl-C ends it all.'),
      ]);
      expect(rowsOf(output()).map(withoutGuarantee)).toEqual([
        ['Double click', '1', oneOfEach, '201, 409, 201 replayed', 'yes'],
        ['Fifty at once', '1', oneOfEach, '201, 49 × 409, 49 × 201 replayed', 'yes'],
        ['Answer to the claim lost', '1', oneOfEach, '201, 201 replayed', 'yes'],
        ['Answer to the charge lost', '2', oneOfEach, '500, 201, 201 replayed', 'yes'],
        ['Answer to the commit lost', '1', oneOfEach, '201, 201 replayed', 'yes'],
        ['Same key, another amount', '1', oneOfEach, '201, 422', 'yes'],
        ['Out of stock', '1', 'none', '402, 402 replayed', 'yes'],
        ['Card declined', '1', 'none', '402, 402 replayed', 'yes'],
        ['Crash after the charge: guarded', '2', '2 charges', '500, 409, 201, 201 replayed', 'yes'],
        ['Crash after the charge: committed', '2', oneOfEach, '500, 409, 201, 201 replayed', 'yes'],
        ['Paused beyond its lease and overtaken: guarded', '2', '2 charges', '201, 2 × 201 replayed', 'yes'],
        ['Paused beyond its lease and overtaken: committed', '2', oneOfEach, '201, 2 × 201 replayed', 'yes'],
        ['Answer over 400 KB', '1', 'none', '201, 201 replayed', 'yes'],
        [
          'After the window has ended',
          '2',
          '2 charges, 2 orders, 2 entries',
          '201, 201 replayed, 201',
          'yes',
        ],
        ['Message published twice, five minutes apart', '1', '1 entry', '–', 'yes'],
        ['One charge, two messages of a standard queue', '1', '1 entry', '–', 'yes'],
        ['Killed half-way through a batch', '4', '4 entries', '–', 'yes'],
        ['Poison in a FIFO group', '2', '2 entries', '–', 'yes'],
        ['Finished neighbour redriven', '1', '1 entry', '–', 'yes'],
        ['Dead letter, sent anew and redriven', '6', '1 entry', '–', 'yes'],
        ['A till crashes and sends again', '2', '2 sales', '500, 201 replayed, 201', 'yes'],
        ['A replaced till is switched on once more', '2', '2 sales', '2 × 201, 409', 'yes'],
        ['A stream batch, cut at a commit', '4', '120 entries', '–', 'yes'],
      ]);
      expect(output()).toContain('All 23 scenarios ended as the guarantee says.');
      const kills = killsOf(output());
      expect(kills.filter((row) => row.at(-1) !== 'yes')).toEqual([]);
      expect(kills.map(([role, request, when]) => `${role} ${request} ${when}`)).toEqual(
        expect.arrayContaining([
          'payments 3  POST /charges after',
          'relay 1  SendMessage after',
          'ledger 2  TransactWriteItems before',
          'pipe 4  SendMessageBatch after',
          'sales 2  TransactWriteItems after',
          'stream 2  TransactWriteItems after',
        ]),
      );
      expect(output()).toContain(`All ${kills.length} runs with a kill point ended as the guarantee says.`);

      const url = /curl -i (http:\S+\/payments) /.exec(output())?.[1] ?? '';
      const pay = (key?: string) =>
        fetch(url, {
          method: 'POST',
          headers: { 'content-type': 'application/json', ...(key && { 'idempotency-key': key }) },
          body: '{"customer":"ada","amount":4200,"currency":"EUR"}',
        });
      const first = await pay('my-first-payment');
      const second = await pay('my-first-payment');
      expect([first.status, second.status, (await pay()).status]).toEqual([201, 201, 400]);
      expect(second.headers.get('idempotent-replayed')).toBe('true');
      expect(await second.text()).toBe(await first.text());

      const page = /to click twice: (http:\S+)/.exec(output())?.[1] ?? '';
      expect(await (await fetch(page)).text()).toContain('Pay EUR 42.00');
      expect(await (await fetch(new URL('config.json', page))).json()).toEqual({
        paymentsUrl: new URL('/PayPage/payments', url).href,
      });

      child.kill('SIGINT');
      expect(await exitCode).toBe(0);
      expect(output()).toMatch(/-(?:ChargePayment|EnterInLedger): .*\n\nStopping … done\n$/);
      await expect(fetch(url)).rejects.toThrow();
      expect(await tableNames()).not.toContainEqual(expect.stringMatching(/^(?:Demo|Payments)-[0-9a-f]{8}-/));
    } finally {
      child.kill('SIGKILL');
    }
  });

  test('shows a failure in every row and exits with 1 when nothing guards the handlers', async () => {
    const { child, output, exitCode } = start(['--unguarded']);
    try {
      expect(await exitCode).toBe(1);
      const rows = rowsOf(output());
      expect(rows).toHaveLength(23);
      expect(rows.map((row) => row.at(-1))).toEqual(Array(23).fill('NO'));
      const thrice = '3 charges, 3 orders, 3 entries';
      expect(rows.map(withoutGuarantee)[0]).toEqual(['Double click', '3', thrice, '3 × 201', 'NO']);
      expect(output()).toContain(
        `\nDouble click\n  - handler runs: 3 instead of 1\n  - side effects: ${thrice} instead of ${oneOfEach}\n`,
      );
      expect(output()).toContain('23 of 23 scenarios did not end as the guarantee says.');
      expect(output()).toMatch(/\n(\d+) of \1 runs with a kill point did not end as the guarantee says\.\n/);
    } finally {
      child.kill('SIGKILL');
    }
  });

  test('fails with the reason where there is no DynamoDB', async () => {
    const { output, exitCode } = start([], 'http://127.0.0.1:9');
    expect(await exitCode).toBe(1);
    expect(output()).toContain("DYNAMODB_ENDPOINT is 'http://127.0.0.1:9', but nothing answers there");
    expect(output()).not.toContain('    at ');
  });

  test.each([
    ['--serv', "Unknown option '--serv'"],
    ['now', "Unexpected argument 'now'"],
    ['--serve=yes', "Option '--serve' does not take an argument"],
  ])('refuses %s and shows what there is', async (flag, problem) => {
    const { output, exitCode } = start([flag]);
    expect(await exitCode).toBe(2);
    expect(output()).toMatch(new RegExp(`^${problem}\n\nUsage: npm start`));
  });

  test('shows its options', async () => {
    const { output, exitCode } = start(['--help']);
    expect(await exitCode).toBe(0);
    expect(output()).toContain('--serve');
  });
});
