/** `npm start`: plays the scenarios on a stack on this machine and shows what came of each. */
import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { type PayPage, startPayPage } from './pay-page.ts';
import { type PaymentProvider, startPaymentProvider } from './payment-provider.ts';
import {
  describeStage,
  payPagePath,
  playScenario,
  type Row,
  type Stage,
  scenarios,
  summary,
} from './scenarios.ts';
import { type Stack, startStack } from './stack.ts';
import { type Column, formatTable } from './table.ts';

const usage = `Usage: npm start [-- options]

  --serve      leave the stack running afterwards, to try it with curl and on a page; Ctrl-C ends it
  --unguarded  run the same handlers with IDEMPOTENCY_DISABLED=true, to see what then happens
  --help       show this

Exits with 0 if every scenario ended as the guarantee says, else with 1.
DYNAMODB_ENDPOINT takes a DynamoDB Local that already runs (http://…) instead of starting one.
`;

const footnote = `(1) The guarded level, idempotent(handler) alone, cannot know whether an attempt that vanished has charged. So the
    retry charges, and 2 is what the guarantee says. The levels that prevent it, stepped and committed, are not in
    this version.`;

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
    // For good: a second Ctrl-C must not cut short what the first one has begun.
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
      process.on(signal, () => resolve('interrupted'));
    }
  });
  let isServing = false;
  let provider: PaymentProvider | undefined;
  let page: PayPage | undefined;
  let stack: Stack | undefined;
  try {
    provider = await startPaymentProvider();
    if (flags.serve) page = await startPayPage(provider.charges);
    // A name of its own, for a DynamoDB that others use as well.
    const table = `idempotency-${randomUUID().slice(0, 8)}`;
    const description = describeStage({
      table,
      paymentsUrl: provider.url,
      unguarded: flags.unguarded,
      ...(page && { pageOrigin: page.url }),
    });
    say('Starting DynamoDB Local, the functions and the routes … ');
    const startedAtMs = Date.now();
    const starting = startStack(description, {
      onLog: ({ functionName, text }) => {
        if (isServing) say(`  ${functionName}: ${text}\n`);
      },
    });
    const started = await Promise.race([starting, interrupted]);
    if (started === 'interrupted') return 130;
    stack = started;
    say(`done, ${secondsSince(startedAtMs)}\n\n`);

    const rows = await Promise.race([playAll({ stack, provider, table }), interrupted]);
    if (rows === 'interrupted') return 130;
    const code = report(rows, flags);
    if (page === undefined) return code;

    page.connect(`${stack.url}${payPagePath}`);
    // As long as a card takes: two clicks meet.
    provider.whenBooked(() => sleep(800));
    say(invitation(stack, provider, page));
    isServing = true;
    await interrupted;
    isServing = false;
    say('\nStopping … ');
    await stack.stop();
    say('done\n');
    return code;
  } finally {
    await stack?.stop();
    await page?.stop();
    await provider?.stop();
  }
}

/** An exit code where there is nothing more to do. */
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

/** A line may end between two answers only. */
const answersOf = ({ observed }: Row): string =>
  summary(observed.answers)
    .map((answer) => answer.replaceAll(' ', '\u00a0'))
    .join(', ');

const columns: readonly Column<Row>[] = [
  { title: 'scenario', width: 22, cell: ({ scenario }) => scenario.name },
  { title: 'handler runs', width: 7, cell: ({ observed }) => `${observed.runs}` },
  { title: 'side effects (charges)', width: 12, cell: ({ observed }) => `${observed.charges}` },
  { title: 'answers', width: 22, cell: answersOf },
  { title: 'what the guarantee says', width: 40, cell: ({ scenario }) => scenario.guarantee },
  { title: 'ok', width: 3, cell: ({ problems }) => (problems.length === 0 ? 'yes' : 'NO') },
];

function report(rows: readonly Row[], { unguarded }: Flags): number {
  say(`\n${formatTable(columns, rows)}\n\n${footnote}\n\n`);
  const failed = rows.filter(({ problems }) => problems.length > 0);
  for (const { scenario, problems, complaints } of failed) {
    const lines = [...problems.map((problem) => `- ${problem}`), ...complaints];
    say(`${scenario.name}\n${lines.map((line) => `  ${line}\n`).join('')}\n`);
  }
  if (unguarded) say('The handlers ran with IDEMPOTENCY_DISABLED=true: nothing guarded them.\n');
  say(
    failed.length === 0
      ? `All ${rows.length} scenarios ended as the guarantee says.\n`
      : `${failed.length} of ${rows.length} scenarios did not end as the guarantee says.\n`,
  );
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

What has been charged: curl ${provider.url}/charges
What the functions log appears below. Ctrl-C ends it all.

`;

const secondsSince = (startedAtMs: number): string => `${((Date.now() - startedAtMs) / 1000).toFixed(1)} s`;

const code = await main().catch((error: unknown) => {
  process.stderr.write(`\n${error instanceof Error ? error.message : error}\n`);
  return 1;
});
// What was still starting when it was interrupted ends with the process.
process.exit(code);
