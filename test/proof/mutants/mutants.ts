/** Faults put into the library on purpose, one at a time. Each must be found; a proof that lets one live proves less than it says. */

export interface Mutant {
  /** What is wrong then. */
  readonly fault: string;
  readonly file: string;
  /** Stands exactly once in the file. */
  readonly find: string;
  readonly replace: string;
  /** The test that finds it, where a seed does so too seldom. */
  readonly test?: string;
}

const items = 'lib/dynamo/items.ts';
const protocol = 'lib/engine/protocol.ts';

export const mutants: readonly Mutant[] = [
  {
    fault: 'a claim does not wait for the lease of one whose window is over',
    file: items,
    find: "OR (#endsAt <= :now AND (#status = :completed OR #leaseUntil <= :now))'",
    replace:
      "OR (#endsAt <= :now AND (#status = :completed OR #leaseUntil >= :zero OR #leaseUntil < :zero))'",
  },
  {
    fault: 'a claim replaces what is completed before its window is over',
    file: items,
    find: 'OR (#endsAt <= :now AND (#status = :completed OR',
    replace: 'OR (#endsAt <= :now OR (#status = :completed OR',
  },
  {
    fault: 'every write under a claim is made without asking whose it is',
    file: items,
    find: "const ifMine = '#owner = :owner AND #status = :inProgress'",
    replace: "const ifMine = '#owner = :owner OR #status = :inProgress'",
  },
  {
    fault: 'a takeover forgets the window that it takes over',
    file: 'lib/engine/attempt.ts',
    find: 'const { window, attempt, createdAtMs, endsAtMs } = abandoned;',
    replace: 'const { attempt, createdAtMs, endsAtMs } = abandoned;\n    const window = owner;',
  },
  {
    fault: 'a takeover does not count',
    file: 'lib/engine/attempt.ts',
    find: 'number: attempt + 1',
    replace: 'number: attempt',
  },
  {
    fault: 'a record is not recognised as its own after a lost answer',
    file: protocol,
    find: "if (record.owner === owner) return 'mine';",
    replace: '',
  },
  {
    fault: 'a lease never ends',
    file: protocol,
    find: "const leaseHolds = record.status === 'IN_PROGRESS' && record.leaseUntilMs > nowMs;",
    replace: "const leaseHolds = record.status === 'IN_PROGRESS';",
  },
  {
    fault: 'a lease never holds',
    file: protocol,
    find: "const leaseHolds = record.status === 'IN_PROGRESS' && record.leaseUntilMs > nowMs;",
    replace: 'const leaseHolds = false;',
  },
  {
    fault: 'other parameters get the stored answer',
    file: protocol,
    find: "    return 'mismatch';\n",
    replace: '',
  },
  {
    fault: 'a completed record is replayed after its window',
    file: protocol,
    find: "if (record.endsAtMs <= nowMs && !leaseHolds) return 'free';",
    replace: "if (record.endsAtMs <= nowMs && !leaseHolds && record.status !== 'COMPLETED') return 'free';",
  },
  {
    fault: 'a claim found applied is the attempt that was asked for, not the one that the record names',
    file: protocol,
    find: 'return won(recorded, recorded.number > 1);',
    replace: 'return won(attempt, recorded.number > 1);',
    test: 'test/engine/late-requests.test.ts',
  },
  {
    fault: 'a claim is asked for again under the same owner',
    file: protocol,
    find: '        earlierOwners.add(owner);\n        owner = uniqueId();',
    replace: '        earlierOwners.add(owner);',
    test: 'test/engine/claimed-again.test.ts',
  },
  {
    fault: 'a claim that is answered too late is used',
    file: 'lib/engine/attempt.ts',
    find: 'return this.leaseLeftMs > this.deps.lease.marginMs;',
    replace: 'return true;',
  },
  {
    fault: 'a failing attempt takes the steps it has begun with it',
    file: 'lib/engine/attempt.ts',
    find: 'return this.number === 1 && !begun ?',
    replace: 'return this.number === 1 ?',
  },
  {
    fault: 'a later attempt gives the whole window back',
    file: 'lib/engine/attempt.ts',
    find: 'return this.number === 1 && !begun ?',
    replace: 'return !begun ?',
  },
  {
    fault: 'a release does not wait for what was begun',
    file: 'lib/engine/execution.ts',
    find: 'const isIdle = isOver && (await closed);',
    replace: 'const isIdle = isOver || (await closed);',
  },
  {
    fault: 'an error after the handler ran says that nothing was done',
    file: 'lib/engine/progress.ts',
    find: 'return this.mayHaveActed() ? afterActing(error, message) : error;',
    replace: 'return this.mayHaveActed() && message ? afterActing(error, message) : error;',
  },
  {
    fault: 'an attempt begins something after its lease',
    file: 'lib/operation/work.ts',
    find: 'if (this.attempt.leaseLeftMs <= 0) throw leaseIsOver();',
    replace: '',
  },
  {
    fault: 'a commit does not complete the operation',
    file: 'lib/dynamo/transaction.ts',
    find: 'own.push({ Update: items.completion(claim.completion, answer) });',
    replace: 'own.push({ ConditionCheck: items.ownership({ pk, owner: claim.completion.owner }) });',
  },
  {
    fault: 'a transaction does not ask whose claim it is',
    file: 'lib/dynamo/transaction.ts',
    find: "if (claim.kind === 'check') own.push(",
    replace: "if (claim.kind === 'check' && step === undefined) own.push(",
  },
  {
    fault: 'a commit that the claim stopped is taken for applied',
    file: 'lib/engine/commit.ts',
    find: 'if (!stopped || isOurs) return',
    replace: 'if (!stopped || isOurs || stopped.found) return',
  },
  {
    fault: 'a commit that claims takes an earlier answer for its own',
    file: 'lib/engine/commit.ts',
    find: "        return { outcome: 'duplicate', record: found };\n      case 'busy'",
    replace: "        return { outcome: 'applied', encoded, record: found };\n      case 'busy'",
  },
  {
    fault: 'a transaction of which nothing is known is taken for refused',
    file: 'lib/operation/transact.ts',
    find: "return doubt === undefined ? sent : { outcome: 'unknown', cause: doubt };",
    replace: 'return sent;',
    test: 'test/operation/transact-doubt.test.ts',
  },
  {
    fault: 'a transaction that was not answered in time is taken for applied',
    file: 'lib/operation/transact.ts',
    find: "        : { outcome: 'unknown', cause: doubt };",
    replace: "        : { outcome: 'applied' };",
  },
  {
    fault: 'every attempt has a token of its own',
    file: 'lib/operation/work.ts',
    find: 'return tokenOf(this.attempt.pk, this.attempt.window, name);',
    replace: 'return tokenOf(this.attempt.pk, this.attempt.owner, name);',
  },
  {
    fault: 'all windows of a key have one token',
    file: 'lib/operation/work.ts',
    find: 'return tokenOf(this.attempt.pk, this.attempt.window, name);',
    replace: "return tokenOf(this.attempt.pk, '', name);",
  },
  {
    fault: 'a later attempt does not read what was recorded',
    file: 'lib/operation/steps.ts',
    find: 'if (number === 1) return undefined;',
    replace: 'if (number >= 1) return undefined;',
  },
  {
    fault: "a message's deduplication id is the same in a later window",
    file: 'lib/operation/outbox.ts',
    find: 'hexSha256(JSON.stringify([pk, window, name, position]))',
    replace: 'hexSha256(JSON.stringify([pk, name, position]))',
  },
  {
    fault: 'a relay does not report what it could not publish',
    file: 'lib/messages/relay.ts',
    find: 'failed.push(...lane.slice(index).map(({ sequenceNumber }) => sequenceNumber));',
    replace: '',
  },
  {
    fault: 'all tenants share their keys',
    file: 'lib/events/identity.ts',
    find: 'JSON.stringify([tenant ?? null, ...parts])',
    replace: 'JSON.stringify([null, ...parts])',
  },
  {
    fault: 'the cache answers after the window',
    file: protocol,
    find: "switch (stand(known, request, '')) {",
    replace: "switch (known.status === 'COMPLETED' ? 'completed' : stand(known, request, '')) {",
  },
  {
    fault: 'chunks of an answer are read in part',
    file: 'lib/dynamo/store.ts',
    find: 'start += chunkBytes) {',
    replace: 'start += chunkBytes + 1) {',
    test: 'test/engine/protocol.test.ts',
  },
  {
    fault: 'what is not to be remembered is remembered',
    file: 'lib/engine/execution.ts',
    find: '    if (isToBeRemembered(this.#call, value)) {',
    replace: '    if (isToBeRemembered(this.#call, value) || !isRecord) {',
  },
  {
    fault: 'a group goes on after a record of it failed',
    file: 'lib/batch/pass.ts',
    find: 'lane.isStopped = true;',
    replace: '',
  },
  {
    fault: 'a group goes on behind a record that is busy elsewhere',
    file: 'lib/batch/claim-batch.ts',
    find: 'return first < 0 ? [] : lane.slice(first + 1)',
    replace: 'return first < 9 ? [] : lane.slice(first + 1)',
  },
  {
    fault: 'a record that was not started is acknowledged',
    file: 'lib/batch/record-state.ts',
    find: "return state?.kind === 'failed' || state?.kind === 'skipped';",
    replace: "return state?.kind === 'failed';",
  },
];
