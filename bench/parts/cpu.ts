/**
 * The guard's own computing, on a client that answers by itself: the SDK and the network are not in it. What the same events,
 * contexts and requests cost without a guard is measured beside it, and taken off.
 */
import { type Contender, contenders, unguarded } from '../contenders.ts';
import { httpRequests, orderOf, queueEvent } from '../events.ts';
import {
  type Bench,
  type ContenderName,
  compare,
  contenderNames,
  cpuMicrosecondsPer,
  inTurn,
  type Part,
} from '../runner.ts';
import { type StubClient, stubClient } from '../stub-client.ts';

/** Makes a call of one kind; `index` tells fresh calls apart. */
type Call = (index: number) => Promise<unknown>;

interface Case {
  readonly what: string;
  /** What one call handles: a batch handles several records. */
  readonly weight?: number;
  readonly note?: string;
  make(contender: Contender, name: ContenderName, stub: StubClient): Call | Promise<Call>;
}

const requestOf = httpRequests();

const fresh = (guarded: (event: ReturnType<typeof requestOf>) => Promise<unknown>): Call => {
  let calls = 0;
  return () => guarded(requestOf(`key-${calls++}`));
};

/** Repeats of one request that is completed. */
async function duplicate(
  guarded: (event: ReturnType<typeof requestOf>) => Promise<unknown>,
  stub: StubClient,
): Promise<Call> {
  stub.remembers = true;
  await guarded(requestOf('key'));
  return () => guarded(requestOf('key'));
}

const doors = ['wrapper', 'middy'] as const;

export const cpuCases: readonly Case[] = [
  ...doors.flatMap((door): Case[] => {
    const name = door === 'middy' ? 'Middy' : 'wrapper';
    return [
      {
        what: `${name}, fresh`,
        make: (contender, _, { client }) => fresh(contender.http({ client, door })),
      },
      {
        what: `${name}, duplicate`,
        make: (contender, _, stub) => duplicate(contender.http({ client: stub.client, door }), stub),
      },
      {
        what: `${name}, cached duplicate`,
        make: (contender, _, stub) =>
          duplicate(contender.http({ client: stub.client, door, cache: true }), stub),
      },
    ];
  }),
  {
    what: 'wrapper, at commit',
    note: 'the peer claims first',
    make: (contender, _, { client }) => fresh(contender.http({ client, claim: 'at-commit' })),
  },
  {
    what: 'wrapper, fresh, peer without check of payload',
    note: 'the peer does not refuse another payload',
    make: (contender, _, { client }) => fresh(contender.http({ client, checksPayload: false })),
  },
  {
    what: 'direct call, fresh',
    make(contender, _, { client }) {
      const guarded = contender.order({ client });
      let calls = 0;
      return () => guarded(orderOf(`order-${calls++}`));
    },
  },
  {
    what: 'direct call, duplicate',
    async make(contender, _, stub) {
      const guarded = contender.order({ client: stub.client });
      stub.remembers = true;
      await guarded(orderOf('order'));
      return () => guarded(orderOf('order'));
    },
  },
  {
    what: 'batch of 10, fresh',
    weight: 10,
    make(contender, _, { client }) {
      const guarded = contender.batch({ client });
      return () => guarded(queueEvent(10));
    },
  },
];

async function run(bench: Bench) {
  const rounds = bench.quick ? 10 : 40;
  const calls = bench.quick ? 100 : 300;
  const rows = [];
  for (const { what, weight = 1, note, make } of cpuCases) {
    const guarded = {} as Record<ContenderName, Call>;
    const bare = {} as Record<ContenderName, Call>;
    for (const name of contenderNames) {
      const stub = stubClient();
      guarded[name] = await make(contenders[name], name, stub);
      const requests = (await requestsOf(stub, guarded[name])) / weight;
      bare[name] = await make(unguarded(requests), name, stubClient());
    }
    const count = Math.ceil(calls / weight);
    // The compiler needs some thousand calls until it knows what is hot.
    const warmUp = bench.quick ? 4 : 60;
    const samples = await inTurn(warmUp + rounds, async (name, round) => {
      bench.progress(`${what}, round ${round + 1} of ${warmUp + rounds}`);
      const bareUsPerCall = await cpuMicrosecondsPer(count, bare[name]);
      return (await cpuMicrosecondsPer(count, guarded[name])) - bareUsPerCall;
    });
    const [idemkit, peer] = [samples.idemkit.slice(warmUp), samples.peer.slice(warmUp)];
    rows.push(compare(what, 'µs', { idemkit, peer }, note));
  }
  return { rows };
}

/** Requests of one call. The first call of a table may send another one. */
async function requestsOf({ sent }: StubClient, call: Call): Promise<number> {
  await call(0);
  const before = sent.count;
  await call(1);
  return sent.count - before;
}

export const cpu: Part = { name: 'cpu', title: 'Own CPU of a call, without the SDK', run };
