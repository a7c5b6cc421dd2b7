/** `npm run soak`: the example shop under traffic, kills and faults, and an audit of everything at the end. */
import { randomInt } from 'node:crypto';
import { parseArgs } from 'node:util';
import type { SoakFigures, SoakResult } from './soak.ts';

const usage = `Usage: npm run soak [-- options]

  --minutes N  how long customers come; 5 unless told otherwise
  --seed S     a whole number: draws what customers do, what is killed and what is disturbed; random unless told otherwise
  --unguarded  run the same handlers with IDEMPOTENCY_DISABLED=true: the audit fails
  --help       show this

Exits with 0 if every order has one effect of each kind and one answer, else with 1. Ctrl-C ends it early, with the audit.
DYNAMODB_ENDPOINT takes a DynamoDB Local that already runs (http://…) instead of starting one.
`;

/** So many orders that failed are shown with their time line; the rest is counted. */
const shownOrders = 5;

const say = (text: string): void => {
  process.stdout.write(text);
};

/** Resolves to the exit code. */
async function main(): Promise<number> {
  const flags = readFlags();
  if (typeof flags === 'number') return flags;
  const { minutes, seed, unguarded } = flags;
  const interrupted = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.on(signal, () => interrupted.abort());
  }
  say(`Seed ${seed}, ${minutes} min of traffic${unguarded ? ', unguarded' : ''}. Starting the shop …\n`);
  // After the flags: it loads the whole stack.
  const { soak } = await import('./soak.ts');
  const result = await soak({
    ...{ durationMs: minutes * 60_000, seed, unguarded, signal: interrupted.signal },
    onProgress: (figures) => say(`${lineOf(figures)}\n`),
  });
  report(result);
  return result.findings.length === 0 ? 0 : 1;
}

interface Flags {
  readonly minutes: number;
  readonly seed: number;
  readonly unguarded: boolean;
}

/** The flags, or the exit code where nothing is to be run. */
function readFlags(): Flags | number {
  try {
    const { values } = parseArgs({
      options: {
        minutes: { type: 'string', default: '5' },
        seed: { type: 'string', default: `${randomInt(1, 1_000_000)}` },
        unguarded: { type: 'boolean', default: false },
        help: { type: 'boolean', default: false },
      },
    });
    if (values.help) {
      say(usage);
      return 0;
    }
    const { unguarded } = values;
    const [minutes, seed] = [Number(values.minutes), Number(values.seed)];
    if (!(minutes > 0 && minutes <= 24 * 60)) throw new Error('--minutes is a number above 0, up to 1440');
    if (!Number.isSafeInteger(seed)) throw new Error('--seed is a whole number');
    return { minutes, seed, unguarded };
  } catch (error) {
    // Node adds advice for programs that take file names; the first sentence says it all.
    const [problem] = (error as Error).message.split('. ');
    process.stderr.write(`${problem}\n\n${usage}`);
    return 2;
  }
}

function lineOf({ elapsedMs, orders, requests, kills, faults, charges, messages }: SoakFigures): string {
  const seconds = elapsedMs / 1000;
  return [
    `${seconds.toFixed(0).padStart(5)} s`,
    `${orders} orders (${(orders / seconds).toFixed(1)}/s), ${requests} requests`,
    `${kills} kills, ${faults.delayed} late, ${faults.repeated} repeated, ${faults.cut} cut`,
    `${charges} charges, ${messages} messages consumed`,
  ].join(' | ');
}

function report({ findings, ledger, timeLineOf }: SoakResult): void {
  const general = findings.filter(({ customer }) => customer === undefined);
  const customers = new Set(findings.flatMap(({ customer }) => (customer === undefined ? [] : [customer])));
  const failed = [...customers].map((customer) => ({
    customer,
    found: findings.filter((finding) => finding.customer === customer),
  }));
  for (const { problem } of general) say(`\n- ${problem}\n`);
  for (const { customer, found } of failed.slice(0, shownOrders)) {
    say(`\n${customer}\n${found.map(({ problem }) => `- ${problem}\n`).join('')}`);
    say(
      timeLineOf(customer)
        .map((line) => `  ${line}\n`)
        .join(''),
    );
  }
  if (failed.length > shownOrders) say(`\nand ${failed.length - shownOrders} more orders\n`);
  const count = ledger.orders.length;
  say(
    findings.length === 0
      ? `\nAll ${count} orders have one effect of each kind and one answer. Nothing is left over.\n`
      : `\n${failed.length} of ${count} orders, and ${general.length} things besides, are not as the guarantee says.\n`,
  );
}

const code = await main().catch((error: unknown) => {
  process.stderr.write(`\n${error instanceof Error ? error.message : error}\n`);
  return 1;
});
// What was still starting when it was interrupted ends with the process.
process.exit(code);
