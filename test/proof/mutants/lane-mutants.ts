/** Faults in lanes and their positions. */
import type { Mutant } from './mutant.ts';

const commits = 'test/batch/partitions.test.ts';
const attempts = 'test/batch/lane-attempts.test.ts';
const services = 'test/batch/partition-services.test.ts';
const faults = 'test/batch/lane-faults.test.ts';
const contract = 'test/store/store.test.ts';

export const laneMutants: readonly Mutant[] = [
  {
    fault: 'a record at the position is given to the handler again',
    file: 'lib/batch/lane-pass.ts',
    find: 'records.filter(({ position }) => position > reached)',
    replace: 'records.filter(({ position }) => position >= reached)',
    test: `${commits}: drops what is at or behind the position of a batch that overlaps the last one`,
  },
  {
    fault: 'positions are compared as text, whatever their length',
    file: 'lib/events/lane.ts',
    find: "return `${String(digits.length).padStart(3, '0')}:${digits}`;",
    replace: 'return digits;',
    test: `${commits}: compares sequence numbers of 56 digits and more as numbers`,
  },
  {
    fault: 'a lane of Kinesis is a partition key, whatever its shard',
    file: 'lib/events/lane.ts',
    find: "['kinesis', String(group), String(kinesis.partitionKey)]",
    replace: "['kinesis', String(kinesis.partitionKey)]",
    test: `${commits}: keeps lanes of other shards, streams and namespaces apart`,
  },
  {
    fault: 'a lane of DynamoDB Streams has another name once its key is unmarshalled',
    file: 'lib/events/lane.ts',
    find: "if (!isRecord(value)) return [typeof value === 'string' ? 'S' : 'N', String(value)];",
    replace: "if (!isRecord(value)) return ['S', String(value)];",
    test: `${services}: knows an item whose key a middleware has unmarshalled`,
  },
  {
    fault: 'a commit without a claim moves the position from wherever it is',
    file: 'lib/dynamo/position-items.ts',
    find: "'#position = :from'",
    replace: "'(#position = :from OR attribute_exists(#position))'",
    test: `${contract}: moves the position without a claim, from the one that was read only`,
  },
  {
    fault: 'a commit without a claim does not look for one of others',
    file: 'lib/dynamo/position-items.ts',
    find: ' AND (#status <> :inProgress OR #leaseUntil <= :now)`',
    replace: ' AND (#status <> :inProgress OR #leaseUntil <= :now OR :now = :now)`',
    test: `${contract}: moves the position without a claim only once the lease of a claim is over, and fences it`,
  },
  {
    fault: 'a lane is taken over whose attempt has done it meanwhile',
    file: 'lib/dynamo/position-items.ts',
    find: '`${ConditionExpression} AND ${behind}`',
    replace: '`${ConditionExpression} AND (${behind} OR attribute_exists(#position))`',
    test: `${contract}: lets nobody take over what its attempt has done meanwhile`,
  },
  {
    fault: 'a window of a lane ends with each completion',
    file: 'lib/dynamo/position-items.ts',
    find: "const isWindowOver = (reach() ?? '') <= upTo;",
    replace: 'const isWindowOver = true;',
    test: `${attempts}: repeats no step, however its batch is cut, until all that it was given is done`,
  },
  {
    fault: 'a takeover forgets how far the attempts before were given a lane',
    file: 'lib/dynamo/position-items.ts',
    find: 'seen !== undefined && seen > upTo ? seen : upTo',
    replace: 'upTo',
    test: `${contract}: goes on with a window until all that its attempts were given is done`,
  },
  {
    fault: 'an owner is told that its lane is free where others have come and gone',
    file: 'lib/dynamo/position-items.ts',
    find: "if (record.status !== 'RELEASED' || record.owner === owner) return record;",
    replace: 'if (record.owner !== undefined) return record;',
    test: `${attempts}: cannot return where another has done a part of it without a claim`,
  },
  {
    fault: 'a claim that is given back forgets how far its lane is done',
    file: 'lib/store/memory-lanes.ts',
    find: `      return put({
          ...kept(lane),
          ...{ pk, status: 'RELEASED'`,
    replace: `      return put({
          ...{ pk, status: 'RELEASED'`,
    test: `${contract}: keeps the position of a claim that is given back, and keeps out its late copies`,
  },
  {
    fault: 'a position moves back',
    file: 'lib/store/memory-lanes.ts',
    find: 'if (lane === undefined || !isBehind(lane, move.upTo)) return stopped();',
    replace: 'if (lane === undefined) return stopped();',
    test: `${contract}: moves the position under a claim, which goes on`,
  },
  {
    fault: "a lane's commit is not recognised after a lost answer",
    file: 'lib/operation/lane-work.ts',
    find: 'const isOurs = found?.owner === owner && found.position === upTo;',
    replace: 'const isOurs = false;',
    test: `${attempts}: is found to be applied where its token was forgotten`,
  },
  {
    fault: "another one's commit is taken for the lane's own",
    file: 'lib/operation/lane-work.ts',
    find: 'const isOurs = found?.owner === owner && found.position === upTo;',
    replace: 'const isOurs = found !== undefined;',
    test: `${commits}: lets one of two invocations commit that read the same position`,
  },
  {
    fault: 'the next part of a lane is committed from the position before the last one',
    file: 'lib/operation/lane-work.ts',
    find: '        this.#lane.reached = to;\n        this.#lane.hasMoved = true;',
    replace: '        this.#lane.hasMoved = true;',
    test: `${commits}: without a claim moves the position part by part`,
  },
  {
    fault: 'a lane goes on after a commit of which nothing is known',
    file: 'lib/operation/lane-work.ts',
    find: "      progress.phase = IdempotencyError.is(error, 'OUTCOME_UNKNOWN')\n        ? { at: 'in-doubt', isClaimed: hasClaim, cause: error }\n        : before;",
    replace: '      progress.phase = before;',
    test: `${attempts}: after one of which nobody knows begins nothing more`,
  },
  {
    fault: 'what a handler has left out of its commits is taken for done',
    file: 'lib/batch/lane-turn.ts',
    find: 'if (lane.reached !== lane.last && (lane.hasAsked || !isClaimed)) throw notCommitted();',
    replace: '',
    test: `${commits}: under a claim delivers again what a handler has left out of its commits`,
  },
  {
    fault: 'a lane that stops at a payload is done to its end',
    file: 'lib/batch/lane-turn.ts',
    find: 'const isPart = isClaimed && lane.last !== lane.end;',
    replace: 'const isPart = false;',
    test: `${commits}: gives the records before a payload that does not fit, and stops there`,
  },
  {
    fault: 'a lane that another invocation has claimed is processed beside it',
    file: 'lib/batch/lane-turn.ts',
    find: "if (isBusy) throw refusalOf({ outcome: 'busy', record }, nowMs);",
    replace: "if (isBusy) return 'ahead';",
    test: `${commits}: reports a lane that another invocation has claimed, and runs what is left of it later`,
  },
  {
    fault: 'a lane that fails reports nothing of its rest',
    file: 'lib/batch/lane-pass.ts',
    find: 'for (const { original } of rest) this.#comeAgain.add(original);',
    replace: '',
    test: `${commits}: stops a lane at its first failure, lets the others go on, and reports the lowest`,
  },
  {
    fault: 'a lane that was not started is acknowledged',
    file: 'lib/batch/lane-pass.ts',
    find: 'else for (const { original } of lane.records) this.#comeAgain.add(original);',
    replace: '',
    test: `${commits}: starts no lane once time is short, and reports those that did not start`,
  },
  {
    fault: 'a lane is given in the order in which its records stand in the event',
    file: 'lib/batch/partitioned-batch.ts',
    find: 'one < other ? -1 : one > other ? 1 : 0',
    replace: 'one === other ? 0 : 0',
    test: `${services}: gives each lane in its order where nothing guards it`,
  },
  {
    fault: 'a batch of a queue is processed by positions',
    file: 'lib/events/lane.ts',
    find: "  throw new IdempotencyError('UNSUPPORTED', notNumbered);",
    replace: "  return { parts: ['other'], position: record.id };",
    test: `${services}: records of SQS, and says why`,
  },
  {
    fault: 'a transaction of a lane does not move its position',
    file: 'lib/dynamo/position-items.ts',
    find: 'const moved = { [laneAttribute.position]: { S: position }, ...cleanup(endsAtMs) };',
    replace: 'const moved = cleanup(endsAtMs);',
    test: `${faults}: counts each record once, whichever one request never arrives`,
  },
  {
    fault: "a write under a lane's claim is made without asking whose it is",
    file: 'lib/dynamo/position-items.ts',
    find: 'ConditionExpression: items.ifMine,',
    replace: 'ConditionExpression: `(${items.ifMine} OR #owner <> :owner)`,',
  },
];
