import type { Auditor, ClaimItem, Execution, History } from '../simulation/history.ts';

/** A handler runs under a claim that it has won, while its lease holds, and never once its window is completed. */
export const turns: Auditor = {
  promise: 'one handler at a time, and none after a completion',
  audit: (history) => [...begunLate(history), ...withoutItsTurn(history), ...together(history)],
};

/** After its lease, as its own clock has it, an attempt begins nothing more. */
const begunLate = ({ stepRuns }: History): string[] =>
  stepRuns.flatMap(({ execution, name, atMs }) => {
    const { claim, id, startedAtMs, startedAtClockMs, isGuarded } = execution;
    const clockMs = atMs + startedAtClockMs - startedAtMs;
    return isGuarded && claim && clockMs >= claim.leaseUntilMs
      ? [`${id} began '${name}' after its lease`]
      : [];
  });

const withoutItsTurn = (history: History): string[] =>
  history.executions
    .filter(({ isGuarded, owner, call }) => isGuarded && (owner !== undefined || !atCommit(history, call.id)))
    .flatMap((execution) => problemsOf(execution, history).map((problem) => `${execution.id}: ${problem}`));

/** None begins while another one runs whose lease holds, as the clock of the one that begins has it. */
function together({ executions, transitions }: History): string[] {
  const problems: string[] = [];
  for (const [index, one] of executions.entries()) {
    if (!one.isGuarded || one.claim === undefined) continue;
    for (const other of executions.slice(0, index)) {
      if (other.pk !== one.pk || !other.isGuarded || other.claim === undefined) continue;
      // One that crashed never ends: its lease holds all the same.
      const isRunning = (other.endedAtMs ?? Number.POSITIVE_INFINITY) > one.startedAtMs;
      const isDone = transitions.some(
        ({ pk, after, atMs }) =>
          pk === one.pk &&
          after?.owner === other.owner &&
          after?.status === 'COMPLETED' &&
          atMs <= one.startedAtMs,
      );
      const isHolding = !isDone && one.startedAtClockMs < other.claim.leaseUntilMs;
      const isSkewed = Math.abs(aheadMs(other) - aheadMs(one)) > marginMs;
      if (isRunning && isHolding && !isSkewed)
        problems.push(`${one.id} began while ${other.id} ran under its lease`);
    }
  }
  return problems;
}

/** A call that claims at its commit has no claim of its own before. */
const atCommit = (history: History, callId: string): boolean => history.claimsAtCommit.has(callId);

function problemsOf(execution: Execution, { transitions, executions }: History): string[] {
  const { owner, window, pk, startedAtMs, startedAtClockMs, claim } = execution;
  if (!claim) return ['its handler ran without a claim'];
  const problems: string[] = [];
  if (startedAtClockMs >= claim.leaseUntilMs) problems.push('its handler began after its lease');
  const completion = transitions.find(
    ({ pk: place, after }) => place === pk && after?.window === window && after?.status === 'COMPLETED',
  );
  // Clocks that differ by more than the margin are the exception that docs/protocol.md names.
  const completer = executions.find((one) => one.pk === pk && one.owner === completion?.after?.owner);
  const isSkewed = completer !== undefined && Math.abs(aheadMs(completer) - aheadMs(execution)) > marginMs;
  if (completion && completion.atMs < startedAtMs && !isSkewed)
    problems.push('its handler began after the window was completed');
  const givenUp = transitions.find(
    (one) =>
      one.pk === pk &&
      one.before?.owner === owner &&
      one.after &&
      one.after.owner === owner &&
      isGivenUp(one.after),
  );
  if (givenUp && givenUp.atMs < (execution.endedAtMs ?? 0))
    problems.push('its claim was given up while it ran');
  const twice = executions.find((other) => other !== execution && other.owner === owner && other.pk === pk);
  if (twice) problems.push(`its claim is also that of ${twice.id}`);
  return problems;
}

/** What a guard allows for clocks that differ. */
const marginMs = 1_000;

/** How far the clock of an execution's sandbox is ahead. */
const aheadMs = ({ startedAtClockMs, startedAtMs }: Execution): number => startedAtClockMs - startedAtMs;

const isGivenUp = ({ status, leaseUntilMs }: ClaimItem): boolean =>
  status === 'RELEASED' || (status === 'IN_PROGRESS' && leaseUntilMs === 0);
