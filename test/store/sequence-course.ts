/** A course of requests about one numbered sender by chance, sent to several stores alike. */
import { randomUUID } from 'node:crypto';
import { IdempotencyError } from '../../lib/index.ts';
import type { ClaimRecord, Completion, SequencePlace, Store } from '../../lib/store.ts';
import { type Random, randomFrom } from '../proof/comparison/random.ts';

const day = 86_400_000;
/** Few owners and epochs: requests that are late, repeated or another's are to meet each other's records. */
const owners = ['a', 'b', 'c'];

interface Request {
  readonly place: Omit<SequencePlace, 'sender'>;
  readonly verb: (typeof verbs)[number];
  readonly owner: string;
  readonly previousOwner: string;
  readonly attempt: number;
  readonly nowMs: number;
  readonly leaseUntilMs: number;
  readonly answer: Completion['answer'];
  readonly token: string;
}

const verbs = [
  ...(['claim', 'claim', 'claim', 'complete', 'complete', 'complete', 'takeOver', 'giveBack'] as const),
  ...(['endLease', 'claimCompleted', 'amend', 'read', 'check', 'completeAtOnce', 'recordAtOnce'] as const),
];

/** What a store says, without what two stores may say differently: where an answer lies. */
type Said = Readonly<Record<string, unknown>>;

export interface Course {
  /** How often each answer came: a course of refusals alone would say little. */
  readonly outcomes: ReadonlyMap<string, number>;
  /** The first request of which they do not say the same, and what each says. */
  readonly difference: readonly string[] | undefined;
}

/** Sends one course to all stores, and compares what they say of each request and of the sender's places after it. */
export async function play(seed: number, length: number, stores: readonly Store[]): Promise<Course> {
  const random = randomFrom(seed);
  const startMs = Date.now();
  const sender = `course-${seed}-${randomUUID()}`;
  const outcomes = new Map<string, number>();
  /** Where the sender is, as far as the requests tell. */
  const at = { epoch: 1, next: 0 };
  for (let count = 0; count < length; count++) {
    const request = draw(random, at, startMs + count);
    const said = await Promise.all(stores.map((store) => ask(store, sender, request)));
    const outcome = `${request.verb} ${said[0]?.outcome ?? said[0]?.code}`;
    outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1);
    const { epoch, number } = request.place;
    if (said[0]?.outcome === 'applied' && epoch >= at.epoch) {
      const isDone = /^(?:complete|claimCompleted|recordAtOnce)/.test(request.verb);
      Object.assign(at, { epoch, next: isDone ? number + 1 : number });
    }
    const places = [...Array(8).keys()].map((back) => ({ ...at, number: at.next + 1 - back }));
    const seen = await Promise.all(stores.map((store) => look(store, sender, places)));
    if (!isSame(said) || !isSame(seen)) {
      const { answer: _, ...shown } = request;
      return { outcomes, difference: [shown, ...(isSame(said) ? seen : said)].map(textOf) };
    }
  }
  return { outcomes, difference: undefined };
}

function draw(random: Random, at: { epoch: number; next: number }, nowMs: number): Request {
  const epoch = random.chance(0.85) ? at.epoch : at.epoch + random.below(4) - 2;
  const near = at.next + random.pick([-6, -5, -4, -2, -1, -1, 1, 2]);
  const number = Math.max(
    0,
    epoch > at.epoch && random.chance(0.7) ? 0 : random.chance(0.75) ? at.next : near,
  );
  const askedAtMs = nowMs + random.pick([0, 0, 0, -2, 1, 2, 500, 1_000, 5_000, day, 2 * day]);
  return {
    place: { epoch: Math.max(0, epoch), number, startsAnywhere: random.chance(0.2) },
    verb: random.pick(verbs),
    owner: random.pick(owners),
    previousOwner: random.pick(owners),
    attempt: 2 + random.below(3),
    nowMs: askedAtMs,
    leaseUntilMs: askedAtMs + random.pick([0, 1, 1_000]),
    answer: random.chance(0.2)
      ? { reason: 'too-large' }
      : new Uint8Array(random.pick([0, 1, 300, 513])).fill(random.below(256)),
    token: randomUUID(),
  };
}

async function ask(store: Store, sender: string, request: Request): Promise<Said> {
  const { place, verb, owner, previousOwner, attempt, nowMs, leaseUntilMs, answer, token } = request;
  const view = store.numbered?.({ sender, ...place });
  if (!view) throw new Error('The store keeps no numbered senders.');
  const pk = `${sender}:${place.epoch}:${place.number}`;
  const endsAtMs = nowMs + day;
  const claim = { pk, owner, nowMs, leaseUntilMs, endsAtMs, fingerprint: `print of ${owner}` };
  // Whoever completes knows the window that its number is in.
  const met = await view.read(pk).catch(() => undefined);
  const completion = { pk, owner, window: met?.window || owner, completedAtMs: nowMs, endsAtMs, answer };
  const transact = async (claimPart: NonNullable<Parameters<typeof transactionOf>[3]>) =>
    transactionOf(view, pk, { nowMs, endsAtMs, token, owner }, claimPart);
  const requests: Record<Request['verb'], () => Promise<unknown>> = {
    claim: () => view.claim(claim),
    complete: () => view.complete(completion),
    takeOver: () => view.takeOver({ pk, owner, previousOwner, attempt, leaseUntilMs }),
    giveBack: () => view.giveBack({ pk, owner, askedAtMs: nowMs }),
    endLease: () => view.endLease({ pk, owner }),
    claimCompleted: () => view.claimCompleted(claim, { ...completion, window: owner }),
    amend: () => view.amend(completion),
    read: async () => ({ outcome: 'read', found: await view.read(pk) }),
    check: () => transact({ kind: 'check', owner }),
    completeAtOnce: () => transact({ kind: 'complete', completion }),
    recordAtOnce: () => transact({ kind: 'record', claim, completion: { ...completion, window: owner } }),
  };
  return said(requests[verb]());
}

async function transactionOf(
  view: Store,
  pk: string,
  { nowMs, endsAtMs, token, owner }: { nowMs: number; endsAtMs: number; token: string; owner: string },
  claim: Parameters<NonNullable<Store['transactions']>['build']>[0]['claim'],
): Promise<unknown> {
  const message = {
    name: token,
    position: 0,
    destination: 'mail',
    body: '',
    groupId: 'g',
    deduplicationId: 'd',
  };
  const transaction = await view.transactions?.build({
    ...{ pk, window: owner, nowMs, endsAtMs, token, claim },
    ...{ writes: [], messages: [message] },
  });
  return transaction?.send();
}

async function look(
  store: Store,
  sender: string,
  places: readonly Pick<SequencePlace, 'epoch' | 'number'>[],
): Promise<Said> {
  const records = places
    .filter(({ number }) => number >= 0)
    .map(({ epoch, number }) => {
      const view = store.numbered?.({ sender, epoch, number, startsAnywhere: false });
      const found = view?.read(`${sender}:${epoch}:${number}`);
      return said(Promise.resolve(found).then((record) => ({ outcome: 'read', found: record })));
    });
  return { records: await Promise.all(records) };
}

async function said(asked: Promise<unknown>): Promise<Said> {
  try {
    const { outcome, found, claim } = (await asked) as {
      outcome: string;
      found?: ClaimRecord;
      claim?: { found?: ClaimRecord };
    };
    return { outcome, found: await plain(found ?? claim?.found) };
  } catch (error) {
    if (!IdempotencyError.is(error)) throw error;
    const { code, effect, expectedNumber } = error;
    return { code, effect, expectedNumber };
  }
}

async function plain(record: ClaimRecord | undefined): Promise<object | undefined> {
  if (record === undefined) return undefined;
  const { answer, ...rest } = record;
  if (answer === undefined || answer.kind === 'unavailable') return { ...rest, answer };
  const bytes = answer.kind === 'inline' ? answer.bytes : await answer.read();
  return { ...rest, answer: bytes && Buffer.from(bytes).toString('base64') };
}

/** Members that are `undefined` are as good as absent. */
const textOf = (value: unknown): string =>
  JSON.stringify(value, (_, member) =>
    member !== null && typeof member === 'object' && !Array.isArray(member)
      ? Object.fromEntries(Object.entries(member).sort(([one], [other]) => (one < other ? -1 : 1)))
      : member,
  );

const isSame = (values: readonly unknown[]): boolean =>
  values.every((value) => textOf(value) === textOf(values[0]));
