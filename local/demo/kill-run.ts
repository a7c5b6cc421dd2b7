import { setTimeout as sleep } from 'node:timers/promises';
import type { Disturbance, KillPoint, Stack } from '../stack/index.ts';
import { type Errand, payment, sale, streamed } from './errands.ts';
import type { PaymentProvider } from './payment-provider.ts';
import { present, type Shop, settled } from './shop.ts';

/** A shop, and what of it is killed there. */
export interface Lane {
  readonly shop: Shop;
  /** Their names. */
  readonly roles: Readonly<Partial<Record<Role, string>>>;
}

export interface KillStage {
  readonly stack: Stack;
  readonly provider: PaymentProvider;
  /** They run in parallel: a kill leaves a lease behind, and one lane waits for its end while others go on. */
  readonly lanes: readonly Lane[];
}

const roles = ['payments', 'relay', 'ledger', 'pipe', 'sales', 'stream'] as const;
type Role = (typeof roles)[number];

/** What is under way while a part is killed. */
const errands: Readonly<Record<Role, (stage: KillStage, shop: Shop, functionName: string) => Errand>> = {
  ...{ payments: payment, relay: payment, ledger: payment, pipe: payment },
  ...{ sales: sale, stream: streamed },
};

/** What a pipe sends. It asks for records all the time, so its requests have no number. */
const pipeOperations = ['DescribeStream', 'GetShardIterator', 'GetRecords', 'SendMessageBatch'] as const;

interface Point {
  readonly role: Role;
  /** Which request of that function, from 1. Of a pipe, the place of its operation in `pipeOperations`. */
  readonly request: number;
  readonly when: 'before' | 'after';
}

export interface KillRow extends Point {
  /** The operation that was struck. Absent where the function sent fewer requests: nothing was killed then. */
  readonly operation: string | undefined;
  /** All that the function sent in this run. */
  readonly sent: readonly string[];
  /** What the client got, each try. */
  readonly statuses: readonly number[];
  /** Empty where there is exactly one effect of everything. */
  readonly problems: readonly string[];
}

export interface KillOptions {
  readonly onRow?: (row: KillRow) => void;
}

export interface DisturbedOptions extends KillOptions {
  readonly seed: number;
}

export interface DisturbedRun {
  readonly rows: readonly KillRow[];
  readonly counts: Disturbance['counts'];
}

/**
 * Pays or sells again and again, and kills one function or pipe each time: before its first request is sent, after that was applied,
 * before the second, … until a run ends without having been struck. The client retries with its key or number until it has an
 * answer; when all is quiet there must be one effect of everything.
 */
export async function killEverywhere(
  stage: KillStage,
  { onRow = () => {} }: KillOptions = {},
): Promise<KillRow[]> {
  const rows: KillRow[] = [];
  const playAll = async (points: (role: Role) => Iterable<Point>): Promise<void> => {
    await playIn(stage, points, ({ row }) => {
      rows.push(row);
      onRow(row);
    });
  };

  await playAll(function* (role) {
    if (role === 'pipe') return yield* pipePoints();
    const isAtEnd = (): boolean => rows.some((row) => row.role === role && row.operation === undefined);
    for (let request = 1; !isAtEnd(); request++) yield* around(role, request);
  });
  for (let tries = 1; tries <= 5; tries++) {
    const missed = missedBy(rows);
    await playAll((role) => missed.filter((point) => point.role === role));
  }
  return rows.sort((one, other) => orderOf(one) - orderOf(other));
}

/**
 * The same kills while requests and answers are late, repeated and cut, to and from everything. What is struck is then
 * often another request than in an undisturbed run. Effects are counted twice: after each payment, and again when
 * nothing is late any more.
 *
 * @param undisturbed the rows of `killEverywhere`; where something was struck, it is played again
 */
export async function killEverywhereDisturbed(
  stage: KillStage,
  undisturbed: readonly KillRow[],
  { seed, onRow = () => {} }: DisturbedOptions,
): Promise<DisturbedRun> {
  const points = new Map(
    undisturbed
      .filter(({ operation }) => operation !== undefined)
      .map(({ role, request, when }) => [`${role} ${request} ${when}`, { role, request, when }]),
  );
  const played: Played[] = [];
  const disturbance = stage.stack.disturb({ seed });
  try {
    await playIn(
      stage,
      (role) => [...points.values()].filter((point) => point.role === role),
      (one) => {
        played.push(one);
        onRow(one.row);
      },
    );
  } finally {
    await disturbance.stop();
  }
  await Promise.all(stage.lanes.map(({ shop }) => settled(stage.stack, shop)));
  const rows: KillRow[] = [];
  for (const { row, count } of played) {
    const problems = await count();
    rows.push({ ...row, problems: [...new Set([...row.problems, ...problems])] });
  }
  return { rows: rows.sort((one, other) => orderOf(one) - orderOf(other)), counts: disturbance.counts };
}

/** Each lane of a role takes the role's next point as soon as it is free. */
async function playIn(
  stage: KillStage,
  points: (role: Role) => Iterable<Point>,
  onPlayed: (played: Played) => void,
): Promise<void> {
  const left = new Map(roles.map((role) => [role, points(role)[Symbol.iterator]()]));
  const playLeft = async (lane: Lane): Promise<void> => {
    for (const role of roles.filter((role) => role in lane.roles)) {
      for (let next = left.get(role)?.next(); next?.done === false; next = left.get(role)?.next()) {
        onPlayed(await playPoint(stage, lane, next.value));
      }
    }
  };
  await Promise.all(stage.lanes.map(playLeft));
}

const around = (role: Role, request: number): readonly Point[] =>
  (['before', 'after'] as const).map((when) => ({ role, request, when }));

const pipePoints = (): readonly Point[] => pipeOperations.flatMap((_, index) => around('pipe', index + 1));

const orderOf = ({ role, request, when }: KillRow): number =>
  roles.indexOf(role) * 10_000 + request * 10 + (when === 'before' ? 0 : 1);

/**
 * On a machine that is too busy, functions run out of time and requests are sent twice. Such a run must end as well as any,
 * but what was struck in it is another request than was meant: the one that an undisturbed run has in that place.
 */
function missedBy(rows: readonly KillRow[]): Point[] {
  return roles.flatMap((role) => {
    const ofRole = rows.filter((row) => row.role === role);
    const [undisturbed] = ofRole
      .filter(({ operation }) => operation === undefined)
      .map(({ sent }) => sent)
      .sort((one, other) => one.length - other.length);
    return (undisturbed ?? []).flatMap((operation, index) =>
      around(role, index + 1).filter(
        ({ request, when }) =>
          !ofRole.some((row) => row.request === request && row.when === when && row.operation === operation),
      ),
    );
  });
}

interface Played {
  readonly row: KillRow;
  /** Counts the effects anew. Resolves to what is wrong with them. */
  readonly count: () => Promise<string[]>;
}

async function playPoint(stage: KillStage, { shop, roles }: Lane, point: Point): Promise<Played> {
  const { stack } = stage;
  const { role, request, when } = point;
  const functionName = present(roles, role);
  const errand = errands[role](stage, shop, functionName);
  const before = stack.requests.length;
  const kill =
    role === 'pipe'
      ? killPipe(stack, functionName, point)
      : stack.killAt({ request, when, function: functionName });
  const count = () => errand.count();
  let problems: string[];
  try {
    await inTime(async () => {
      await errand.run();
      await settled(stack, shop);
      await errand.repeat();
      await settled(stack, shop);
    });
    problems = await count();
  } catch (error) {
    problems = [`${error}`];
  }
  const sent = stack.requests
    .slice(before)
    .filter((sent) => sent.functionName === functionName)
    .map(({ operation }) => operation);
  const row = { ...point, operation: kill.disarm()?.operation, sent, statuses: errand.statuses, problems };
  return { row, count };
}

function killPipe(stack: Stack, name: string, { request, when }: Point): KillPoint {
  const operation = pipeOperations[request - 1]!;
  const kill = stack.killAt({ request: 1, when, function: name, operation });
  // A pipe asks for an iterator only where it begins.
  if (operation === 'GetShardIterator') stack.pipe(name).crash();
  return kill;
}

const patienceMs = 180_000;

async function inTime(work: () => Promise<void>): Promise<void> {
  const over = new AbortController();
  const tooLong = sleep(patienceMs, undefined, { signal: over.signal }).then(() => {
    throw new Error(`It was not over after ${patienceMs / 1000} s.`);
  });
  try {
    await Promise.race([work(), tooLong]);
  } finally {
    over.abort();
    tooLong.catch(() => {});
  }
}
