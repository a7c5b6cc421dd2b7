/** What lanes are promised: each record once, none skipped, and a position that only moves forward, with its effects. */
import { IdempotencyError } from '../../../lib/index.ts';
import type { Item } from '../dynamodb-model/index.ts';
import { type Auditor, type Call, type Execution, type History, kindOfFact } from '../simulation/history.ts';
import type { Entry } from '../workloads/batch-fleet.ts';

/** A record, with its place in its lane. */
export interface PlacedEntry extends Entry {
  readonly number: number;
  readonly position: string;
}

export interface LaneItem {
  readonly status: string;
  readonly owner: string;
  readonly window: string;
  readonly attempt: number;
  readonly leaseUntilMs: number;
  readonly position: string;
}

/** A lane's item was changed by one request. */
export interface LaneChange {
  readonly atMs: number;
  readonly lane: string;
  readonly before: LaneItem | undefined;
  readonly after: LaneItem | undefined;
  readonly call: Call | undefined;
  /** What the sender's clock said when it sent the request. */
  readonly sentAtClockMs: number;
}

/** A handler was given records of a lane. */
export interface LaneRun {
  readonly execution: Execution;
  readonly lane: string;
  readonly entries: readonly PlacedEntry[];
  readonly claim: LaneChange | undefined;
  readonly commits: boolean;
  readonly claimsAtCommit: boolean;
}

export const recordsOfLanes = kindOfFact<PlacedEntry>('records of lanes');
export const laneChanges = kindOfFact<LaneChange>('changes of lanes');
export const laneRuns = kindOfFact<LaneRun>('runs of lanes');
export const laneFailures = kindOfFact<{ call: Call; lane: string; error: unknown }>('failures of lanes');

const textIn = (item: Item, name: string): string => (item[name] as { S?: string } | undefined)?.S ?? '';
const numberIn = (item: Item, name: string): number => Number((item[name] as { N?: string } | undefined)?.N);

export const laneItem = (item: Item): LaneItem => ({
  status: textIn(item, 'status'),
  owner: textIn(item, 'owner'),
  window: textIn(item, 'window'),
  attempt: numberIn(item, 'attempt'),
  leaseUntilMs: numberIn(item, 'leaseUntil'),
  position: textIn(item, 'position'),
});

/** Changes after which the position of its lane is not before `entry`. */
const changesTo = (history: History, { pk, position }: PlacedEntry): LaneChange[] =>
  history.facts(laneChanges).filter((one) => one.lane === pk && (one.after?.position ?? '') >= position);

/** Executions that were given `entry`, do not commit, and have returned. */
const returnedWith = (history: History, { key }: PlacedEntry, byMs: number): Execution[] =>
  history
    .facts(laneRuns)
    .filter(({ commits, entries }) => !commits && entries.some((entry) => entry.key === key))
    .map(({ execution }) => execution)
    .filter(({ ended, endedAtMs = Number.POSITIVE_INFINITY }) => ended === 'returned' && endedAtMs <= byMs);

const once: Auditor = {
  promise: 'a commit has one effect for each record of a lane, with its position',
  audit(history) {
    const records = new Map(history.facts(recordsOfLanes).map((entry) => [entry.key, entry]));
    const last = new Map<string, PlacedEntry>();
    const problems: string[] = [];
    for (const { execution, pk: key, atMs } of history.committed) {
      const entry = records.get(key);
      if (!entry) continue;
      const before = last.get(entry.pk);
      if (before && before.number >= entry.number)
        problems.push(`${execution} had its effect after that of ${before.key}`);
      last.set(entry.pk, entry);
      const isMoved = changesTo(history, entry).some(
        (one) => one.atMs === atMs && (one.before?.position ?? '') < entry.position,
      );
      if (!isMoved) problems.push(`${execution} had its effect without the position`);
    }
    return problems;
  },
};

const noneSkipped: Auditor = {
  promise: 'a position is moved only over what is done',
  audit: (history) =>
    history.facts(laneChanges).flatMap(({ lane, before, after, atMs, call }) =>
      history
        .facts(recordsOfLanes)
        .filter(({ pk, position }) => pk === lane && position > (before?.position ?? ''))
        .filter(({ position }) => position <= (after?.position ?? ''))
        .filter((entry) => !isDone(history, entry, atMs))
        .map(({ key }) => `${call?.id} moved the position over ${key}, which was not done, at ${atMs}`),
    ),
};

/** Its effect is there, its handler has returned, or its stream has given it up. */
const isDone = (history: History, entry: PlacedEntry, byMs: number): boolean =>
  history.committed.some((one) => one.pk === entry.key && one.atMs <= byMs) ||
  history.takenOut.some((one) => one.key === entry.key && one.atMs <= byMs) ||
  returnedWith(history, entry, byMs).length > 0;

const protocol: Auditor = {
  promise: "a lane's item changes as the protocol says",
  audit(history) {
    const callOf = new Map<string, Call | undefined>();
    return history.facts(laneChanges).flatMap((change) => {
      const { after, before, call, atMs, lane } = change;
      if (after && after.owner !== before?.owner && !callOf.has(after.owner)) callOf.set(after.owner, call);
      const problem =
        after && callOf.get(after.owner) !== call
          ? "it was changed by another than its owner's call"
          : problemOf(change);
      return problem ? [`${lane.slice(-4)}: ${problem}, by ${call?.id} at ${atMs}`] : [];
    });
  },
};

function problemOf({ before, after, sentAtClockMs }: LaneChange): string | undefined {
  if (!after) return 'a position was forgotten';
  if (!before) return undefined;
  if (after.position < before.position) return 'a position moved back';
  if (after.owner === before.owner) {
    const isSame = after.window === before.window && after.attempt === before.attempt;
    return isSame ? undefined : 'an owner changed its place';
  }
  if (before.status === 'IN_PROGRESS' && before.leaseUntilMs > sentAtClockMs)
    return 'a lane was taken before its lease was over';
  if (after.window === before.window)
    return after.attempt === before.attempt + 1 ? undefined : 'a takeover miscounted the attempts';
  return after.attempt === 1 ? undefined : 'a window began with a later attempt';
}

const turns: Auditor = {
  promise: 'a handler is given what is beyond the position, in its order, under the lease of its lane',
  audit: (history) =>
    history.facts(laneRuns).flatMap(({ execution, lane, entries, claim, claimsAtCommit }) => {
      const { id, startedAtClockMs } = execution;
      const problems: string[] = [];
      if (entries.some(({ number }, index) => number <= (entries[index - 1]?.number ?? 0)))
        problems.push(`${id} was given its records out of order`);
      if (entries.some(({ pk }) => pk !== lane)) problems.push(`${id} was given two lanes`);
      if (claimsAtCommit) return problems;
      if (!claim?.after) return [...problems, `${id} began without a claim of its lane`];
      if (startedAtClockMs >= claim.after.leaseUntilMs) problems.push(`${id} began after its lease`);
      const position = claim.before?.position ?? '';
      if (entries.some((entry) => entry.position <= position))
        problems.push(`${id} was given what was done before its claim`);
      return problems;
    }),
};

const steps: Auditor = {
  promise: 'a finished step of a lane never runs again',
  audit: (history) =>
    history.stepRuns.flatMap(({ execution, name }) => {
      const run = history.facts(laneRuns).find((one) => one.execution === execution);
      const isRepeat = history.stepsRecorded.some(
        ({ pk, sk, atMs }) =>
          pk === run?.lane && sk.endsWith(`#step#${name}`) && atMs < (run?.claim?.atMs ?? 0),
      );
      return isRepeat ? [`${execution.id} ran '${name}' again`] : [];
    }),
};

const acknowledged: Auditor = {
  promise: 'what a delivery does not report is done',
  audit: (history) => {
    const records = new Map(history.facts(recordsOfLanes).map((entry) => [entry.key, entry]));
    return history.acknowledged.flatMap(({ key, atMs }) => {
      const entry = records.get(key);
      const isReached = entry && changesTo(history, entry).some((one) => one.atMs <= atMs);
      return isReached || (entry && isUnrecorded(history, entry, atMs))
        ? []
        : [`${key} was not reported, and its lane's position is before it`];
    });
  },
};

/** Its handler has returned, and the guard told that it could not record that. */
const isUnrecorded = (history: History, entry: PlacedEntry, byMs: number): boolean =>
  returnedWith(history, entry, byMs).some(({ call }) =>
    call.observed.some((event) => event.type === 'unrecorded' && event.operation === entry.pk),
  );

const nothingDone: Auditor = {
  promise: "`effect: 'none'` only where nothing was done in the lane",
  audit: (history) =>
    history.facts(laneFailures).flatMap(({ call, lane, error }) => {
      if (!IdempotencyError.is(error) || error.effect !== 'none') return [];
      const runs = history
        .facts(laneRuns)
        .filter((run) => run.execution.call === call && run.lane === lane)
        .filter(({ execution, claimsAtCommit }) => {
          const isCommitted = history.committed.some((one) =>
            one.execution.startsWith(`${execution.id} of `),
          );
          return !claimsAtCommit || isCommitted;
        });
      return runs.map(({ execution }) => `${call.id} was told ${error.code}, and ${execution.id} ran`);
    }),
};

const notStuck: Auditor = {
  promise: 'a lane is done at the next delivery after every lease',
  audit: (history) =>
    history.calls
      .filter(({ isProbe }) => isProbe)
      .flatMap(({ id, outcome }) => {
        const ran = history.facts(laneRuns).filter(({ execution }) => execution.call.id === id);
        const failures =
          outcome?.kind === 'answered'
            ? (outcome.value as { batchItemFailures: unknown[] }).batchItemFailures.length
            : 1;
        return [
          ...(failures > 0 ? [`${id} could not end it`] : []),
          ...ran.map(({ execution }) => `${execution.id} ran once more`),
        ];
      }),
};

export const laneAuditors: readonly Auditor[] = [
  ...[once, noneSkipped, protocol, turns, steps, acknowledged, nothingDone, notStuck],
];
