/** How often each thing must happen: seeds that no longer reach what they are to prove would pass without proving anything. */

/** In 5,000 seeds, at about half of what they reach; a third of what is seldom. */
export const least: Readonly<Record<string, number>> = {
  'DynamoDB says ConditionalCheckFailed': 2_000,
  'DynamoDB says ConditionalCheckFailedException': 20_000,
  'DynamoDB says TransactionCanceledException': 2_000,
  'DynamoDB says TransactionConflict': 500,
  'DynamoDB says TransactionConflictException': 500,
  'DynamoDB says TransactionInProgressException': 400,
  'TTL removes a claim': 100,
  'TTL removes a result': 10,
  'TTL removes a step': 100,
  'a batch is cut in halves': 200,
  'a batch of a stream is given up': 100,
  'a call while another one runs in its process': 1_000,
  'a chunk of an answer': 900,
  'a clock is skewed: relay': 100,
  'a clock is skewed: sandbox': 1_000,
  'a commit is applied': 5_000,
  'a dead letter comes again': 400,
  'a guard tells: abandon': 100,
  'a guard tells: busy': 2_000,
  'a guard tells: claim': 9_000,
  'a guard tells: complete': 9_000,
  'a guard tells: mismatch': 700,
  'a guard tells: overtaken': 100,
  'a guard tells: release': 1_000,
  'a guard tells: replay': 7_000,
  'a guard tells: step': 3_000,
  'a guard tells: takeover': 3_000,
  'a guard tells: unguarded, store-failed': 10,
  'a guard tells: unrecorded': 300,
  'a handler ends after its lease': 800,
  'a message is sent twice': 60,
  'a new window': 3_000,
  'a process is killed at its deadline': 900,
  "a stream's record comes again by hand": 400,
  'a takeover': 3_000,
  'a transaction is applied': 400,
  'a window is given back': 1_000,
  'a write is applied after its sender gave up': 400,
  'a write of a dead process is applied': 900,
  'an answer from the cache': 400,
  'an answer in several chunks': 50,
  'an answer is amended': 1_000,
  'an answer is not kept: not-final': 10,
  'an answer is not kept: not-sealed': 8,
  'answers: big': 100,
  'answers: huge': 10,
  'answers: long': 100,
  'answers: plain': 1_000,
  'answers: rich': 100,
  'door: HTTP API, Middy 6': 100,
  'door: HTTP API': 100,
  'door: Middy 6': 200,
  'door: Middy 7': 200,
  'door: REST API, Middy 7': 100,
  'door: REST API': 200,
  'door: load balancer': 100,
  'door: wrapper': 200,
  'fault: answer not delivered': 300,
  'fault: called twice': 600,
  'fault: conflict': 1_000,
  'fault: crash after': 1_000,
  'fault: crash before': 1_000,
  'fault: crash when answered': 1_000,
  'fault: delivered twice': 300,
  'fault: failed after': 1_000,
  'fault: failed before': 1_000,
  'fault: frozen': 1_000,
  'fault: handler throws': 400,
  'fault: in two phases': 500,
  'fault: late': 1_000,
  'fault: lost answer': 2_000,
  'fault: lost request': 1_000,
  'fault: middleware throws': 20,
  'fault: much later': 300,
  'fault: not published': 50,
  'fault: open fails': 10,
  'fault: passing answer': 100,
  'fault: place is lost': 60,
  'fault: relay dies': 50,
  'fault: seal fails': 20,
  'fault: sent twice': 1_000,
  'fault: slow': 2_000,
  'fault: small skew': 800,
  'fault: throttled': 2_000,
  'fault: turned away': 30,
  'fault: wild skew': 700,
  'refused: COMMIT_REJECTED, effect none': 50,
  'refused: COMMIT_REJECTED, effect possible': 100,
  'refused: INDETERMINATE, effect possible': 10,
  'refused: IN_PROGRESS, effect none': 900,
  'refused: NO_TIME_LEFT, effect none': 100,
  'refused: OUTCOME_UNKNOWN, effect possible': 30,
  'refused: OVERTAKEN, effect possible': 100,
  'refused: PAYLOAD_MISMATCH, effect none': 200,
  'refused: RESULT_UNAVAILABLE, effect none': 50,
  'refused: RESULT_UNAVAILABLE, effect possible': 1,
  'refused: STORE_UNAVAILABLE, effect none': 300,
  'refused: STORE_UNAVAILABLE, effect possible': 10,
  'something is opened': 2_000,
  'something is sealed': 3_000,
  'two batches of one shard at once': 100,
  'workload: FIFO batches': 200,
  'workload: answering nothing': 200,
  'workload: at commit': 200,
  'workload: batches of a standard queue': 200,
  'workload: batches of a stream of DynamoDB': 200,
  'workload: batches of a stream of Kinesis': 200,
  'workload: committed and amended': 200,
  'workload: committed with a fallback': 200,
  'workload: committed': 200,
  'workload: guarded': 200,
  'workload: stepped': 200,
};

const seedsOfLeast = 5_000;

/** Counts what runs reach. */
export class Reached {
  readonly counts = new Map<string, number>();
  #seeds = 0;

  add(run: ReadonlyMap<string, number>): void {
    for (const [what, times] of run) this.counts.set(what, (this.counts.get(what) ?? 0) + times);
    this.#seeds++;
  }

  /** What was reached too seldom for as many seeds, in a sentence each. */
  tooSeldom(): string[] {
    return Object.entries(least).flatMap(([what, times]) => {
      const wanted = Math.floor((times * this.#seeds) / seedsOfLeast);
      const found = this.counts.get(what) ?? 0;
      return found < wanted ? [`${what}: ${found} times, expected at least ${wanted}`] : [];
    });
  }
}
