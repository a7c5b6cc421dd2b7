/** How many requests a call sends, and how many of them wait for each other. */
import { type Contender, contenders } from '../contenders.ts';
import { httpRequests, queueEvent } from '../events.ts';
import { type ContenderName, contenderNames, counted, type Part } from '../runner.ts';
import { type StubClient, stubClient } from '../stub-client.ts';

interface Counts {
  readonly requests: number;
  /** Round trips one after the other: what a call waits for, however much of it is at once. */
  readonly roundTrips: number;
}

/** A network that answers all that is under way together, once nothing more is sent. */
class Waves {
  #waiting: (() => void)[] = [];
  count = 0;

  readonly later = (): Promise<void> =>
    new Promise((resolve) => {
      this.#waiting.push(resolve);
    });

  async drive<Result>(call: Promise<Result>): Promise<Result> {
    let isOver = false;
    const end = (): void => {
      isOver = true;
    };
    call.then(end, end);
    while (!isOver) {
      for (let turn = 0; turn < 5; turn++) await new Promise((resolve) => setImmediate(resolve));
      if (this.#waiting.length === 0) continue;
      this.count++;
      for (const resolve of this.#waiting.splice(0)) resolve();
    }
    return call;
  }
}

async function countsOf(
  name: ContenderName,
  make: (contender: Contender, stub: StubClient) => readonly (() => Promise<unknown>)[],
): Promise<Counts> {
  const waves = new Waves();
  const stub = stubClient(waves.later);
  stub.remembers = true;
  const calls = make(contenders[name], stub);
  let before: Counts = { requests: 0, roundTrips: 0 };
  for (const call of calls) {
    before = { requests: stub.sent.count, roundTrips: waves.count };
    await waves.drive(call());
  }
  return { requests: stub.sent.count - before.requests, roundTrips: waves.count - before.roundTrips };
}

const requestOf = httpRequests();

/** Of the calls that each makes, the last one is counted. */
const cases: Readonly<
  Record<string, (contender: Contender, stub: StubClient) => readonly (() => Promise<unknown>)[]>
> = {
  fresh(contender, { client }) {
    const guarded = contender.http({ client });
    return [() => guarded(requestOf('key'))];
  },
  'at commit'(contender, { client }) {
    const guarded = contender.http({ client, claim: 'at-commit' });
    return [() => guarded(requestOf('key'))];
  },
  duplicate(contender, { client }) {
    const guarded = contender.http({ client });
    return [() => guarded(requestOf('key')), () => guarded(requestOf('key'))];
  },
  'cached duplicate'(contender, { client }) {
    const guarded = contender.http({ client, cache: true });
    return [() => guarded(requestOf('key')), () => guarded(requestOf('key'))];
  },
  'batch of 10, fresh'(contender, { client }) {
    const guarded = contender.batch({ client });
    return [() => guarded(queueEvent(10))];
  },
  'batch of 100, fresh'(contender, { client }) {
    const guarded = contender.batch({ client });
    return [() => guarded(queueEvent(100))];
  },
};

export const requests: Part = {
  name: 'requests',
  title: 'Requests, and round trips that wait for each other',
  async run(bench) {
    const rows = [];
    for (const [what, make] of Object.entries(cases)) {
      bench.progress(what);
      const counts = {} as Record<ContenderName, Counts>;
      for (const name of contenderNames) counts[name] = await countsOf(name, make);
      rows.push(
        counted(`${what}: requests`, '', counts.idemkit.requests, counts.peer.requests),
        counted(`${what}: round trips`, '', counts.idemkit.roundTrips, counts.peer.roundTrips),
      );
    }
    return { rows };
  },
};
