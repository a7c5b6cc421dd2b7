import type { Auditor, ClaimItem, Transition } from '../simulation/history.ts';

/** Every change of a record is one of the protocol's, and takes nobody's claim before its time. */
export const transitions: Auditor = {
  promise: 'a record changes as the protocol says',
  audit: ({ transitions: all }) => {
    const callOf = new Map<string, string | undefined>();
    return all.flatMap((transition) => {
      const { before, after, call } = transition;
      if (after && after.owner !== before?.owner) callOf.set(after.owner, call?.id);
      const isOthers = after !== undefined && callOf.get(after.owner) !== call?.id;
      const problem = isOthers
        ? "a record was changed by another than its owner's call"
        : problemOf(transition);
      return problem
        ? [`${problem}, by ${transition.call?.id} (${transition.operation}) at ${transition.atMs}`]
        : [];
    });
  },
};

function problemOf({ before, after, sentAtClockMs, call }: Transition): string | undefined {
  if (!after) return call ? 'a record was deleted' : undefined;
  if (!before) return after.attempt === 1 ? undefined : 'a record begins with a later attempt';
  if (before.owner === after.owner) return problemOfOwn(before, after);
  if (before.window === after.window) return problemOfTakeover(before, after, sentAtClockMs);
  return problemOfNewWindow(before, after);
}

function problemOfOwn(before: ClaimItem, after: ClaimItem): string | undefined {
  if (before.window !== after.window || before.attempt !== after.attempt) return 'an owner changed its place';
  switch (`${before.status} to ${after.status}`) {
    case 'IN_PROGRESS to COMPLETED':
      return undefined;
    case 'IN_PROGRESS to IN_PROGRESS':
      return after.leaseUntilMs === 0 ? undefined : 'an owner changed its lease';
    case 'IN_PROGRESS to RELEASED':
      return before.attempt === 1 ? undefined : 'a later attempt gave its window back';
    case 'COMPLETED to COMPLETED':
      return before.endsAtMs === after.endsAtMs ? undefined : 'an amended answer moved the end of its window';
    case 'RELEASED to RELEASED':
      return undefined;
    default:
      return `a record went from ${before.status} to ${after.status}`;
  }
}

function problemOfTakeover(before: ClaimItem, after: ClaimItem, nowMs: number): string | undefined {
  if (before.status !== 'IN_PROGRESS') return `an attempt took over what was ${before.status}`;
  if (before.leaseUntilMs > nowMs) return 'an attempt took over before the lease was over';
  if (after.attempt !== before.attempt + 1) return 'a takeover miscounted the attempts';
  if (after.endsAtMs !== before.endsAtMs) return 'a takeover moved the end of the window';
  return undefined;
}

function problemOfNewWindow(before: ClaimItem, after: ClaimItem): string | undefined {
  if (after.window !== after.owner || after.attempt !== 1) return 'a window begins with a later attempt';
  if (before.status === 'RELEASED') return undefined;
  const askedAtMs = after.createdAtMs;
  if (before.endsAtMs > askedAtMs) return `a window (${before.status}) was ended before its time`;
  if (before.status === 'IN_PROGRESS' && before.leaseUntilMs > askedAtMs)
    return 'a lease was ended before its time';
  return undefined;
}
