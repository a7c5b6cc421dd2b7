/** `npm start`: plays the scenarios on a stack on this machine and shows what came of each. */
import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { type Column, formatTable } from '../../lib/text-table.ts';
import type { Stack } from '../stack/index.ts';
import { type Demo, startDemo } from './demo.ts';
import { type KillRow, type KillStage, killEverywhere } from './kill-run.ts';
import { messageScenarios } from './message-scenarios.ts';
import { type PayPage, startPayPage } from './pay-page.ts';
import { type PaymentProvider, startPaymentProvider } from './payment-provider.ts';
import { paymentScenarios } from './payment-scenarios.ts';
import { isMetric, playScenario, type Row, type Stage, summary } from './scenario.ts';
import { streamScenarios } from './stream-scenarios.ts';
import { tillScenarios } from './till-scenarios.ts';

const usage = `Usage: npm start [-- options]

  --serve      leave the stack running afterwards, to try it with curl and on a page; Ctrl-C ends it
  --unguarded  run the same handlers with IDEMPOTENCY_DISABLED=true, to see what then happens
  --help       show this

Exits with 0 if every scenario and every kill point ended as the guarantee says, else with 1.
DYNAMODB_ENDPOINT takes a DynamoDB Local that already runs (http://…) instead of starting one.
`;

const footnote = `(1) The guarded level, idempotent(handler) alone, cannot know whether an attempt that vanished has charged. So the
    retry charges, and 2 is what the guarantee says. The row after it is the same at the committed level.`;

const scenarios = [...paymentScenarios, ...messageScenarios, ...tillScenarios, ...streamScenarios];

interface Flags {
  readonly serve: boolean;
  readonly unguarded: boolean;
}

const say = (text: string): void => {
  process.stdout.write(text);
};

/** Resolves to the exit code. */
async function main(): Promise<number> {
  const flags = readFlags();
  if (typeof flags === 'number') return flags;

  const interrupted = new Promise<'interrupted'>((resolve) => {
    // The listeners stay: a second Ctrl-C must not interrupt the clean-up that the first one began.
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
      process.on(signal, () => resolve('interrupted'));
    }
  });
  let isServing = false;
  let provider: PaymentProvider | undefined;
  let page: PayPage | undefined;
  let demo: Demo | undefined;
  try {
    provider = await startPaymentProvider();
    if (flags.serve) page = await startPayPage(provider.charges);
    // Others may use the same DynamoDB, so the tables get a name of their own.
    const name = randomUUID().slice(0, 8);
    say('Synthesising the CDK app, starting DynamoDB Local, the queues, the functions and the routes … ');
    const startedAtMs = Date.now();
    const starting = startDemo({
      ...{ name, provider, unguarded: flags.unguarded },
      ...(page && { pageOrigin: page.url }),
      onLog: ({ functionName, text }) => {
        if (isServing && !isMetric(text)) say(`  ${functionName}: ${text}\n`);
      },
    });
    const started = await Promise.race([starting, interrupted]);
    if (started === 'interrupted') return 130;
    demo = started;
    say(`done, ${secondsSince(startedAtMs)}\n\n`);

    const rows = await Promise.race([playAll(demo.stage), interrupted]);
    if (rows === 'interrupted') return 130;
    const kills = await Promise.race([killAll(demo.kills), interrupted]);
    if (kills === 'interrupted') return 130;
    const code = report(rows, kills, flags);
    if (page === undefined) return code;

    page.connect(`${demo.stack.url}${demo.payPagePath}`);
    // A charge takes as long as with a real card, so that a second click meets the first.
    provider.whenBooked(() => sleep(800));
    say(invitation(demo.stack, provider, page));
    isServing = true;
    await interrupted;
    isServing = false;
    say('\nStopping … ');
    await demo.stop();
    say('done\n');
    return code;
  } finally {
    await demo?.stop();
    await page?.stop();
    await provider?.stop();
  }
}

/** The flags, or the exit code where nothing is to be played. */
function readFlags(): Flags | number {
  try {
    const { values } = parseArgs({
      options: {
        serve: { type: 'boolean', default: false },
        unguarded: { type: 'boolean', default: false },
        help: { type: 'boolean', default: false },
      },
    });
    if (!values.help) return values;
    say(usage);
    return 0;
  } catch (error) {
    // Node adds advice for programs that take file names; the first sentence says it all.
    const [problem] = (error as Error).message.split('. ');
    process.stderr.write(`${problem}\n\n${usage}`);
    return 2;
  }
}

async function playAll(stage: Stage): Promise<Row[]> {
  const rows: Row[] = [];
  for (const [index, scenario] of scenarios.entries()) {
    say(`  ${index + 1}/${scenarios.length}  ${scenario.name} … `);
    const startedAtMs = Date.now();
    const row = await playScenario(scenario, stage);
    rows.push(row);
    say(`${row.problems.length === 0 ? 'ok' : 'NOT AS GUARANTEED'}, ${secondsSince(startedAtMs)}\n`);
  }
  return rows;
}

async function killAll(stage: KillStage): Promise<KillRow[]> {
  say('  payments, relay, ledger, pipe, sales and stream killed at every request ');
  const startedAtMs = Date.now();
  const rows = await killEverywhere(stage, {
    onRow: ({ problems }) => say(problems.length === 0 ? '.' : 'X'),
  });
  const isWell = rows.every(({ problems }) => problems.length === 0);
  say(` ${isWell ? 'ok' : 'NOT AS GUARANTEED'}, ${secondsSince(startedAtMs)}\n`);
  return rows;
}

/** The answers of a row. A line breaks only between two of them. */
const answersOf = ({ observed }: Row): string =>
  summary(observed.answers)
    .map((answer) => answer.replaceAll(' ', '\u00a0'))
    .join(', ') || '–';

const columns: readonly Column<Row>[] = [
  { title: 'scenario', width: 22, cell: ({ scenario }) => scenario.name },
  { title: 'handler runs', width: 7, cell: ({ observed }) => `${observed.runs}` },
  {
    title: 'side effects',
    width: 11,
    cell: ({ observed }) => observed.effects.replaceAll(/(\d) /g, '$1\u00a0'),
  },
  { title: 'answers', width: 22, cell: answersOf },
  { title: 'what the guarantee says', width: 40, cell: ({ scenario }) => scenario.guarantee },
  { title: 'ok', width: 3, cell: ({ problems }) => (problems.length === 0 ? 'yes' : 'NO') },
];

const killColumns: readonly Column<KillRow>[] = [
  { title: 'killed part', width: 15, cell: ({ role }) => role },
  {
    title: 'at its request',
    width: 28,
    cell: ({ request, operation }) => `${request}  ${operation ?? 'none'}`,
  },
  { title: '', width: 6, cell: ({ when, operation }) => (operation === undefined ? '' : when) },
  { title: 'the client got', width: 32, cell: ({ statuses }) => statuses.join(', ') },
  { title: 'ok', width: 3, cell: ({ problems }) => (problems.length === 0 ? 'yes' : 'NO') },
];

const killIntroduction = `A payment with a new key, a sale with the till's next number, or a batch of a stream, and one kill: before a request of a function or pipe is
sent, or after it was applied. The client retries until it has its answer, and asks once more at the end. Each time there
must be one answer, and of a payment one charge, one order, one piece less in stock, one entry in the ledger and the right
balance; of a sale one sale and the right takings; of a batch and one that overlaps it six entries.`;

function report(rows: readonly Row[], kills: readonly KillRow[], { unguarded }: Flags): number {
  say(`\n${formatTable(columns, rows)}\n\n${footnote}\n\n`);
  say(`${killIntroduction}\n\n${formatTable(killColumns, kills, 'dense')}\n\n`);
  const failed = [
    ...rows.flatMap(({ scenario: { name }, problems, complaints }) => ({ name, problems, complaints })),
    ...kills.map(({ role, request, when, problems }) => ({
      name: `${role} killed ${when} request ${request}`,
      problems,
      complaints: [],
    })),
  ].filter(({ problems }) => problems.length > 0);
  for (const { name, problems, complaints } of failed) {
    const lines = [...problems.map((problem) => `- ${problem}`), ...complaints];
    say(`${name}\n${lines.map((line) => `  ${line}\n`).join('')}\n`);
  }
  if (unguarded) say('The handlers ran with IDEMPOTENCY_DISABLED=true: nothing guarded them.\n');
  for (const [all, what] of [
    [rows, 'scenarios'],
    [kills, 'runs with a kill point'],
  ] as const) {
    const wrong = all.filter(({ problems }) => problems.length > 0).length;
    say(
      wrong === 0
        ? `All ${all.length} ${what} ended as the guarantee says.\n`
        : `${wrong} of ${all.length} ${what} did not end as the guarantee says.\n`,
    );
  }
  return failed.length === 0 ? 0 : 1;
}

const invitation = ({ url }: Stack, provider: PaymentProvider, page: PayPage): string => `
The stack is running. A page with a Pay button, to click twice: ${page.url}/

Try the API, and repeat it:

  curl -i ${url}/payments \\
    -H 'Content-Type: application/json' -H 'Idempotency-Key: my-first-payment' \\
    -d '{"customer":"ada","amount":4200,"currency":"EUR"}'

Without the key it is refused:

  curl -i ${url}/payments -H 'Content-Type: application/json' \\
    -d '{"customer":"ada","amount":4200,"currency":"EUR"}'

What has been charged, the latest first: curl ${provider.url}/charges
What the functions log appears below. Ctrl-C ends it all.

`;

const secondsSince = (startedAtMs: number): string => `${((Date.now() - startedAtMs) / 1000).toFixed(1)} s`;

const code = await main().catch((error: unknown) => {
  process.stderr.write(`\n${error instanceof Error ? error.message : error}\n`);
  return 1;
});
// What was still starting when it was interrupted ends with the process.
process.exit(code);
