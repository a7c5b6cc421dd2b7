/**
 * The table's layout and the environment's names: the only file that the runtime, the constructs and the
 * command line share, so it imports nothing.
 */

/** Key and TTL attribute names of a table that was not given others. */
export const tableLayout = { partitionKey: 'pk', sortKey: 'sk', ttlAttribute: 'expiresAt' } as const;

/** Sort key of the item that holds an operation's claim. */
export const claimSortKey = 'claim';

/** Attributes of all items: the claim, the chunks of its answer, finished steps, staged messages. Several are reserved words: always use `#names`. */
export const attribute = {
  status: 'status',
  owner: 'owner',
  window: 'window',
  attempt: 'attempt',
  /** Epoch milliseconds. */
  leaseUntil: 'leaseUntil',
  /** Epoch milliseconds: when the window ends. Decides; `expiresAt` only cleans up. */
  endsAt: 'endsAt',
  fingerprint: 'fingerprint',
  /** Epoch milliseconds. */
  createdAt: 'createdAt',
  /** Epoch milliseconds. */
  completedAt: 'completedAt',
  /** An answer as stored, or one chunk of it. */
  data: 'data',
  writeId: 'writeId',
  chunks: 'chunks',
  /** Why a completed operation has no answer. */
  unavailable: 'unavailable',
  /** Where and what it was that could not be stored. */
  unavailableDetail: 'unavailableDetail',
  /** The raw key; only with `keep.key`. */
  key: 'key',
  /** The encoded event; only with `keep.input`. */
  input: 'input',
  /** What a step or a transaction returned, encoded. */
  value: 'value',
  /** A staged message, as the relay or a pipe reads it. */
  destination: 'destination',
  body: 'body',
  groupId: 'groupId',
  deduplicationId: 'deduplicationId',
} as const;

/** `STARTED`: a step that is never to be repeated, and of which the end was not recorded. */
export type StepStatus = 'STARTED' | 'DONE';

/** `RELEASED`: given back before anything was begun. It binds nobody; it only keeps a late request of its own claim out. */
export type ClaimStatus = 'IN_PROGRESS' | 'COMPLETED' | 'RELEASED';

/** Why a completed operation has no answer to give. */
export type UnavailableReason =
  /** It cannot be serialised: a function, a class instance, a stream. */
  | 'unserialisable'
  /** It is larger than {@link Store.maxAnswerBytes} as stored. */
  | 'too-large'
  /** `seal` failed. */
  | 'not-sealed'
  /** The handler returned, but what came after it failed before the answer was final. */
  | 'not-final';

/** Environment variables that configure a guard without options; the constructs set them. */
export const environment = {
  table: 'IDEMPOTENCY_TABLE',
  namespace: 'IDEMPOTENCY_NAMESPACE',
  ttlSeconds: 'IDEMPOTENCY_TTL_SECONDS',
  disabled: 'IDEMPOTENCY_DISABLED',
  /** Names of outbox destinations, separated by commas. */
  destinations: 'IDEMPOTENCY_DESTINATIONS',
} as const;

/** CloudWatch metrics of guards: `emf()` writes them, the dashboard reads them. */
export const metric = {
  /** CloudWatch namespace. */
  cloudWatchNamespace: 'idemkit',
  /** The only dimension: the guard's namespace. */
  dimension: 'namespace',
  /** Counts, one for each type of event that an observer is told. */
  count: {
    claim: 'Claim',
    takeover: 'Takeover',
    replay: 'Replay',
    busy: 'Busy',
    mismatch: 'Mismatch',
    overtaken: 'Overtaken',
    complete: 'Complete',
    release: 'Release',
    abandon: 'Abandon',
    unrecorded: 'Unrecorded',
    step: 'Step',
    unguarded: 'Unguarded',
  },
  /** Count of completions by a second or later attempt. */
  retrySuccess: 'RetrySuccess',
  /** Milliseconds of a call's way to the table and back, until it is claimed, replayed or refused. */
  claimLatency: 'ClaimLatency',
  /** Milliseconds that recording the outcome took. */
  settleLatency: 'SettleLatency',
} as const;

/** Lifetime of an operation's window where nothing else is said: one day. */
export const defaultTtlSeconds = 86_400;

const cleanupDelaySeconds = 86_400;

/**
 * The TTL attribute's value (epoch **seconds**, as DynamoDB demands) for a window that ends at `endsAtMs`.
 * A day later than the window's end, because TTL is cleanup only: nothing reads this value to decide.
 *
 * @see https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/TTL.html
 */
export const cleanupAtSeconds = (endsAtMs: number): number =>
  Math.ceil(endsAtMs / 1000) + cleanupDelaySeconds;

/** Sort key shared by all chunks of one written answer; a chunk appends `0001`, `0002`, … */
export const chunkSortKeyPrefix = (window: string, writeId: string): string => `${window}#result#${writeId}#`;

export const chunkSortKey = (window: string, writeId: string, index: number): string =>
  `${chunkSortKeyPrefix(window, writeId)}${String(index + 1).padStart(4, '0')}`;

/** Sort key shared by all finished steps and transactions of a window. */
export const stepSortKeyPrefix = (window: string): string => `${window}#step#`;

export const stepSortKey = (window: string, name: string): string => `${stepSortKeyPrefix(window)}${name}`;

/** Sort key of the message at `position` (from 0) that a transaction, or `commit`, has staged. */
export const messageSortKey = (window: string, name: string, position: number): string =>
  `${window}#outbox#${name}#${String(position + 1).padStart(4, '0')}`;

/** Tells the sort key of a staged message from all others; a window is a UUID. */
export const outboxMark = /^[^#]+#outbox#/;

/** A staged message stays for this long at least: what publishes it may be down for a while. */
const messageLifeMs = 7 * 86_400_000;

/** The TTL attribute's value for a message staged at `nowMs` in a window that ends at `endsAtMs`. */
export const messageCleanupAtSeconds = (nowMs: number, endsAtMs: number): number =>
  cleanupAtSeconds(Math.max(endsAtMs, nowMs + messageLifeMs));
