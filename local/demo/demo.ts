import { fork } from 'node:child_process';
import { once } from 'node:events';
import { rmSync } from 'node:fs';
import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { environment as variable } from '../../lib/record.ts';
import { type Stack, type StackDescription, type StackOptions, startStack } from '../stack/index.ts';
import {
  type Assembly,
  type DescribedTemplate,
  describeTemplate,
  type FunctionOverrides,
  readAssembly,
} from '../template/index.ts';
import type { KillStage, Lane } from './kill-run.ts';
import type { PaymentProvider } from './payment-provider.ts';
import type { Stage } from './scenario.ts';
import { joined, present, type RelayedShop, shopOf } from './shop.ts';

export interface DemoOptions extends Omit<StackOptions, 'callers'> {
  /** Tells its tables from those of others in the same DynamoDB. */
  readonly name: string;
  readonly provider: PaymentProvider;
  /** Runs the same handlers with `IDEMPOTENCY_DISABLED=true`. @default false */
  readonly unguarded?: boolean;
  /** Where a page that may call the API comes from. */
  readonly pageOrigin?: string;
  /** How many times the app of `cdk.json` is there for kills to be tried in. @default 4 */
  readonly lanes?: number;
  /** What is not as deployed, in addition, in `stage`. */
  readonly overrides?: Readonly<Record<string, FunctionOverrides>>;
}

/** Everything that `npm start` shows, in one local stack. */
export interface Demo {
  readonly stack: Stack;
  /** Of `DemoStack`: the app of `cdk.json`, and variants of it. */
  readonly stage: Stage;
  /** Of `DemoStack` too, with the relay handler in place of the pipe. */
  readonly relayed: RelayedShop;
  /** Of the app of `cdk.json`, several times, and of the variant with a relay. */
  readonly kills: KillStage;
  /** Where the pay page sends its payments. */
  readonly payPagePath: string;
  stop(): Promise<void>;
}

/**
 * Synthesises the app of `cdk.json` and `DemoStack`, and starts what the templates say.
 *
 * @throws Error with what is wrong with them, or what is missing on this machine and how to get it
 */
export async function startDemo(options: DemoOptions): Promise<Demo> {
  const { name, provider, pageOrigin, unguarded = false, lanes: laneCount = 4, ...rest } = options;
  const folder = await mkdtemp(join(tmpdir(), 'idemkit-cdk-'));
  const remove = (): void => {
    process.off('exit', remove);
    rmSync(folder, { recursive: true, force: true });
  };
  // Whoever interrupts the start gets no stack to stop.
  process.on('exit', remove);
  try {
    await synthesizeDemo(folder, provider.url);
    const more = {
      ...(unguarded && { [variable.disabled]: 'true' }),
      ...(pageOrigin !== undefined && { PAGE_ORIGIN: pageOrigin }),
    };
    const demo = described(readAssembly(folder, 'Demo'), `Demo-${name}`, more, {
      ...timing,
      ...options.overrides,
    });
    const payments = readAssembly(folder, 'Payments');
    const lanes = Array.from({ length: laneCount }, (_, index) => {
      const lane = described(payments, `Payments-${name}-${index + 1}`, more, killTiming);
      return { ...lane, path: `/lane-${index + 1}` };
    });
    const stack = await startStack(
      joined([
        { upstreams: { payments: provider.url } },
        withoutPoison(demo.description, present(demo.names.queues, 'Relayed/Ledger')),
        ...lanes.map(({ description, names, path }) =>
          mounted(path, withoutPoison(description, present(names.queues, 'Ledger'))),
        ),
      ]),
      { ...rest, callers: 'anyone' },
    );
    const relay = present(demo.names.functions, 'Relayed/Relay');
    const relayed = { ...shopOf(demo.names, { scope: 'Relayed/' }), relay };
    return {
      stack,
      stage: {
        ...{ stack, provider },
        shop: shopOf(demo.names),
        functions: demo.names.functions,
        charges: present(demo.names.queues, 'Charges'),
        deadCharges: present(demo.names.queues, 'Charges/DeadLetterQueue'),
      },
      relayed,
      kills: {
        ...{ stack, provider },
        lanes: [
          ...lanes.map(({ names, path }): Lane => {
            const shop = shopOf(names, { path: `${path}/payments` });
            const pipe = present(names.pipes, 'LedgerOutbox');
            return { shop, roles: { payments: shop.payments, ledger: shop.ledger, pipe } };
          }),
          { shop: relayed, roles: { relay } },
          {
            shop: shopOf(demo.names),
            roles: {
              sales: present(demo.names.functions, 'BookSale'),
              stream: present(demo.names.functions, 'EnterSales'),
            },
          },
        ],
      },
      payPagePath: '/PayPage/payments',
      async stop() {
        try {
          await stack.stop();
        } finally {
          remove();
        }
      },
    };
  } catch (error) {
    remove();
    throw error;
  }
}

async function synthesizeDemo(folder: string, paymentsUrl: string): Promise<void> {
  const script = fileURLToPath(new URL('./synthesize-demo.ts', import.meta.url));
  const child = fork(script, [folder, paymentsUrl], {
    execArgv: [],
    // The check of templates against the CDK's schemas takes seconds; the test of the app has it.
    env: { ...process.env, CDK_VALIDATION: 'false' },
    stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
  });
  const kill = (): void => void child.kill();
  process.on('exit', kill);
  const said = child.stderr === null ? '' : text(child.stderr);
  const [code] = await once(child, 'close');
  process.off('exit', kill);
  if (code !== 0) throw new Error(`The CDK app cannot be synthesised.\n${await said}`);
}

/** The leases of attempts that are killed end soon; a message that fails comes back soon. */
const timing: Readonly<Record<string, FunctionOverrides>> = {
  IssueStatement: { timeoutSeconds: 30 },
  EnterInLedger: { timeoutSeconds: 3, retryAfterSeconds: 1 },
  EnterFromStandardQueue: { retryAfterSeconds: 0 },
  'Relayed/ChargePayment': { timeoutSeconds: 3 },
  'Relayed/Relay': { timeoutSeconds: 3 },
  // When the lease of an attempt that was killed is over: its timeout and a second.
  'Relayed/EnterInLedger': { timeoutSeconds: 3, retryAfterSeconds: 4 },
};
const killTiming: Readonly<Record<string, FunctionOverrides>> = {
  ChargePayment: { timeoutSeconds: 3 },
  EnterInLedger: { timeoutSeconds: 3, retryAfterSeconds: 4 },
};

/** A template in which all functions have some variables more, and some of them other times. */
function described(
  assembly: Assembly,
  stackName: string,
  environment: Readonly<Record<string, string>>,
  times: Readonly<Record<string, FunctionOverrides>>,
): DescribedTemplate {
  const paths = Object.keys(describeTemplate(assembly).names.functions);
  const overrides = Object.fromEntries(paths.map((path) => [path, { ...times[path], environment }]));
  return describeTemplate(assembly, { stackName, overrides });
}

/** Under a base path, as an API has one on a domain that several share. */
const mounted = (path: string, { routes = [], ...rest }: StackDescription): StackDescription => ({
  ...rest,
  routes: routes.map((route) => ({ ...route, path: `${path}${route.path}` })),
});

/** Where functions are killed, a message comes until it is handled, however busy the machine. */
function withoutPoison(description: StackDescription, queue: string): StackDescription {
  const { queues = {} } = description;
  const { [queue]: found } = queues;
  return { ...description, queues: { ...queues, [queue]: { ...found, maxReceiveCount: 100 } } };
}
