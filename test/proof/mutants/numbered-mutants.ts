/** Faults in what a guard makes of a numbered sender: its place, its lane in a batch, what it is told. */
import type { Mutant } from './mutant.ts';

export const numberedMutants: readonly Mutant[] = [
  {
    fault: "a numbered sender's header may have a member twice",
    file: 'lib/sequence/header.ts',
    find: 'if (members.has(name)) throw',
    replace: 'if (members.size > 9) throw',
    test: 'test/sequence/header.test.ts: is refused with a member twice, and nothing that was sent is shown',
  },
  {
    fault: "what stands behind a value in a numbered sender's header is skipped",
    file: 'lib/sequence/header.ts',
    find: 'const memberEnd = /[ \\t]*(,|$)/y;',
    replace: 'const memberEnd = /[^,]*(,|$)/y;',
    test: 'test/sequence/header.test.ts: is refused with a parameter, and nothing that was sent is shown',
  },
  {
    fault: 'a number may be so large that its successor is the same',
    file: 'lib/sequence/place.ts',
    find: 'Number.isSafeInteger(value)',
    replace: 'Number.isInteger(value)',
    test: 'test/sequence/options.test.ts: is refused with a number beyond 2^53 − 1, before anything has happened, and nothing of it is shown',
  },
  {
    fault: 'one caller numbers for the sender of another',
    file: 'lib/sequence/numbered.ts',
    find: "['sequence', tenant ?? null, producer]",
    replace: "['sequence', null, producer]",
    test: 'test/sequence/outcomes.test.ts: is another one of another sender, tenant or namespace',
  },
  {
    fault: 'a numbered guard takes a cache, which would answer a fenced sender',
    file: 'lib/sequence/numbered.ts',
    find: "[['cache'],",
    replace: "[['cached'],",
    test: 'test/sequence/options.test.ts: does not go with `cache`',
  },
  {
    fault: 'a refusal by a numbered sender is told to no observer',
    file: 'lib/engine/execution.ts',
    find: '    observeRefusal(error, request.pk, ',
    replace: '    void (error, request.pk, ',
    test: 'test/sequence/batches.test.ts: stops a sender at a gap, and takes it up when its predecessor has come',
  },
  {
    fault: "a standard queue's records of one sender are not sorted",
    file: 'lib/batch/lanes.ts',
    find: '  places.sort((one, other) => one.epoch - other.epoch || one.number - other.number);\n',
    replace: '',
    test: 'test/sequence/batches.test.ts: of a standard queue runs each sender in its own order, and the others beside it',
  },
  {
    fault: 'a fenced record holds up the epoch that fenced it',
    file: 'lib/batch/pass.ts',
    find: 'lane.isStopped ||= lane.isInOrder || !isPassed;',
    replace: 'lane.isStopped = true;',
    test: 'test/sequence/batches.test.ts: reports what is fenced, and goes on with the epoch that fenced it',
  },
  {
    fault: 'a newer epoch begins behind a record that failed, and fences it',
    file: 'lib/batch/pass.ts',
    find: 'lane.isStopped ||= lane.isInOrder || !isPassed;',
    replace: 'lane.isStopped ||= lane.isInOrder;',
    test: 'test/sequence/batches.test.ts: stops a sender at a failure, and asks the store for nothing behind it',
  },
  {
    fault: 'a number in two groups runs without a claim of its own',
    file: 'lib/batch/claim-batch.ts',
    find: 'isNumbered ? JSON.stringify([record.group, identity.pk]) : identity.pk',
    replace: 'identity.pk',
    test: 'test/sequence/batches.test.ts: runs a number that is in two FIFO groups once, also where all of it comes again',
  },
  {
    fault: 'a plain batch handler is given numbered records all at once',
    file: 'lib/batch/take.ts',
    find: "if (isNumbered && what !== 'eachRecord') {",
    replace: "if (isNumbered && what === '') {",
    test: 'test/sequence/batches.test.ts: is refused to freshRecords, which takes all records at once',
  },
  {
    fault: 'a numbered guard around another one claims nothing, and acknowledges all',
    file: 'lib/batch/take.ts',
    find: 'if (!around.isNumbered) continue;',
    replace: 'if (what !== around.batch.report) continue;',
    test: 'test/sequence/batches.test.ts: is refused by a numbered guard around another guard, which would claim first',
  },
];
