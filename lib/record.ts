/**
 * The layout of the table, and the names of environment variables and metrics. The runtime, the constructs and the command
 * line share this file and no other, so it imports nothing.
 */

/** The default names of the table's keys and of its TTL attribute. */
export const tableLayout = { partitionKey: 'pk', sortKey: 'sk', ttlAttribute: 'expiresAt' } as const;

/** The sort key of the item that holds an operation's claim. */
export const claimSortKey = 'claim';

/** The sort key of the item that stands for a sender that numbers its operations. */
export const sequenceSortKey = 'sequence';

/** Attributes of that item alone. Its others are named as those of a claim. */
export const sequenceAttribute = {
  epoch: 'epoch',
  /** The highest number that is completed. */
  last: 'last',
  /** How the records are named: `record0` to `record5`, after the number's remainder. Each is a map. */
  record: 'record',
} as const;

/** The sort key of the item that holds a lane's position. */
export const positionSortKey = 'position';

/** Attributes of that item alone. Its others are named as those of a claim. */
export const laneAttribute = {
  /** The sequence number up to which the lane is done, as text that compares as numbers do. */
  position: 'position',
  /** The last sequence number that an attempt of the lane's window was given. */
  reach: 'reach',
} as const;

/**
 * The attributes of all items: claims, chunks of answers, finished steps, staged messages.
 * DynamoDB reserves several of these words, so every expression must use `#names`.
 */
export const attribute = {
  status: 'status',
  owner: 'owner',
  window: 'window',
  attempt: 'attempt',
  /** Epoch milliseconds. */
  leaseUntil: 'leaseUntil',
  /** Epoch milliseconds. When the window ends: this decides. `expiresAt` only cleans up. */
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
  /** Which part of the answer could not be stored, and what it is. */
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

/** `STARTED`: a step that must run at most once has begun, and its end was not recorded. */
export type StepStatus = 'STARTED' | 'DONE';

/** `RELEASED`: given back before anything was begun. Anyone may claim it. It only stops a late request of the same claim. */
export type ClaimStatus = 'IN_PROGRESS' | 'COMPLETED' | 'RELEASED';

/** Why a completed operation has no answer. */
export type UnavailableReason =
  /** The answer cannot be serialised: a function, a class instance, a stream. */
  | 'unserialisable'
  /** The answer as stored is larger than {@link Store.maxAnswerBytes}. */
  | 'too-large'
  /** `seal` failed. */
  | 'not-sealed'
  /** The handler returned, but a later middleware failed before the answer was final. */
  | 'not-final'
  /** Of a numbered sender, only the last five answers are kept. */
  | 'forgotten';

/** Environment variables that configure a guard. The constructs set them. */
export const environment = {
  table: 'IDEMPOTENCY_TABLE',
  namespace: 'IDEMPOTENCY_NAMESPACE',
  ttlSeconds: 'IDEMPOTENCY_TTL_SECONDS',
  disabled: 'IDEMPOTENCY_DISABLED',
  /** Names of outbox destinations, separated by commas. */
  destinations: 'IDEMPOTENCY_DESTINATIONS',
} as const;

/** The CloudWatch metrics of guards. `emf()` writes them, the dashboard reads them. */
export const metric = {
  /** CloudWatch namespace. */
  cloudWatchNamespace: 'idemkit',
  /** The only dimension: the guard's namespace. */
  dimension: 'namespace',
  /** One count for each type of event that an observer is told. */
  count: {
    claim: 'Claim',
    takeover: 'Takeover',
    replay: 'Replay',
    busy: 'Busy',
    mismatch: 'Mismatch',
    fenced: 'Fenced',
    gap: 'Gap',
    overtaken: 'Overtaken',
    complete: 'Complete',
    release: 'Release',
    abandon: 'Abandon',
    unrecorded: 'Unrecorded',
    step: 'Step',
    position: 'Position',
    unguarded: 'Unguarded',
  },
  /** Counts completions by a second or later attempt. */
  retrySuccess: 'RetrySuccess',
  /** Milliseconds until a call was claimed, replayed or refused. */
  claimLatency: 'ClaimLatency',
  /** Milliseconds until an outcome was recorded. */
  settleLatency: 'SettleLatency',
} as const;

/** How long an answer is replayed by default: one day. */
export const defaultTtlSeconds = 86_400;

/** How long a silent sender, and a lane that does not move, are kept by default: thirty days. */
export const defaultForgetAfterSeconds = 2_592_000;

const cleanupDelaySeconds = 86_400;

/**
 * The value of the TTL attribute for a window that ends at `endsAtMs`, in epoch **seconds**, as DynamoDB demands.
 * It is one day after the window's end. Nothing decides by it, so a late or early deletion does no harm.
 *
 * @see https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/TTL.html
 */
export const cleanupAtSeconds = (endsAtMs: number): number =>
  Math.ceil(endsAtMs / 1000) + cleanupDelaySeconds;

/** How the sort keys of all chunks of one stored answer begin. A chunk appends `0001`, `0002`, … */
export const chunkSortKeyPrefix = (window: string, writeId: string): string => `${window}#result#${writeId}#`;

export const chunkSortKey = (window: string, writeId: string, index: number): string =>
  `${chunkSortKeyPrefix(window, writeId)}${String(index + 1).padStart(4, '0')}`;

/** How the sort keys of all finished steps and transactions of a window begin. */
export const stepSortKeyPrefix = (window: string): string => `${window}#step#`;

export const stepSortKey = (window: string, name: string): string => `${stepSortKeyPrefix(window)}${name}`;

/** The sort key of the message at `position`, from 0, that the transaction `name` has staged. */
export const messageSortKey = (window: string, name: string, position: number): string =>
  `${window}#outbox#${name}#${String(position + 1).padStart(4, '0')}`;

/** Matches the sort keys of staged messages only. Before the first `#` is the window, a UUID. */
export const outboxMark = /^[^#]+#outbox#/;

/** A staged message stays for at least a week, because its publisher may be down for a while. */
const messageLifeMs = 7 * 86_400_000;

/** The value of the TTL attribute, in epoch seconds, for a message staged at `nowMs` in a window that ends at `endsAtMs`. */
export const messageCleanupAtSeconds = (nowMs: number, endsAtMs: number): number =>
  cleanupAtSeconds(Math.max(endsAtMs, nowMs + messageLifeMs));
