import type { Attributes, Rejection } from '../errors.ts';
import type { ClaimStatus, StepStatus, UnavailableReason } from '../record.ts';

export type { Rejection } from '../errors.ts';
export type { UnavailableReason } from '../record.ts';

/** Time, as the protocol sees it. Give a store another one to test expiry, leases and skewed clocks. */
export interface Clock {
  /** Epoch milliseconds. */
  now(): number;
  /** Resolves `ms` milliseconds later. */
  sleep(ms: number): Promise<void>;
}

export const systemClock: Clock = {
  now: Date.now,
  sleep: (ms) => new Promise((resolve) => setTimeout(resolve, ms)),
};

/** An answer as a record carries it. */
export type StoredAnswer =
  /** At hand. */
  | { readonly kind: 'inline'; readonly bytes: Uint8Array }
  /** Where it lies is the store's business. Resolves to `undefined` where a part of it is gone. */
  | { readonly kind: 'elsewhere'; read(): Promise<Uint8Array | undefined> }
  | ({ readonly kind: 'unavailable' } & Unavailable);

/** Stands where an answer or a step's value would, in the record of what is done and cannot be had any more. */
export interface Unavailable {
  readonly reason: UnavailableReason;
  /** Where and what, e.g. `$.total is a Money`; at most 300 characters, and nothing of the value. */
  readonly detail?: string;
}

/** The claim item: one operation's state. Times are epoch milliseconds. */
export interface ClaimRecord {
  readonly pk: string;
  readonly status: ClaimStatus;
  readonly owner: string;
  /** Owner token of the window's first attempt. */
  readonly window: string;
  readonly attempt: number;
  readonly leaseUntilMs: number;
  readonly endsAtMs: number;
  readonly createdAtMs: number;
  readonly completedAtMs?: number;
  readonly fingerprint?: string;
  /** Present if, and only if, `status` is `COMPLETED`. */
  readonly answer?: StoredAnswer;
  /** Of a lane only: the position up to which it is done, once there is one. */
  readonly position?: string;
}

/**
 * A first attempt's claim, as it is to be put.
 *
 * All bytes that a store is given, here, in completions and in steps, may be views of a larger buffer, which holds other data.
 */
export interface NewClaim {
  readonly pk: string;
  readonly owner: string;
  readonly nowMs: number;
  readonly leaseUntilMs: number;
  readonly endsAtMs: number;
  readonly fingerprint?: string;
  readonly rawKey?: string;
  readonly rawInput?: Uint8Array;
}

export interface Takeover {
  readonly pk: string;
  readonly owner: string;
  readonly previousOwner: string;
  readonly attempt: number;
  readonly leaseUntilMs: number;
}

export interface Completion {
  readonly pk: string;
  readonly owner: string;
  readonly window: string;
  readonly completedAtMs: number;
  readonly endsAtMs: number;
  /** The encoded answer, or why there is none. */
  readonly answer: Uint8Array | Unavailable;
}

/** A step or transaction of a window, as it is recorded. */
export interface StepRecord {
  readonly name: string;
  readonly status: StepStatus;
  readonly owner: string;
  /** The number of the attempt that recorded it. */
  readonly attempt: number;
  /** The encoded value, or why there is none. Present if, and only if, `status` is `DONE`. */
  readonly value?: Uint8Array | Unavailable;
}

/** A step's record as it is to be put; times decide about its cleanup only. */
export interface NewStep extends StepRecord {
  readonly pk: string;
  readonly window: string;
  readonly endsAtMs: number;
}

/** The outcome of putting a step's record where there may be one. */
export type StepWritten =
  | { readonly outcome: 'applied' }
  | { readonly outcome: 'stopped'; readonly found: StepRecord | undefined };

/** One of a handler's own writes, in the shape of lib-dynamodb's `TransactItems`: values as JavaScript has them. */
export interface TransactWrite {
  readonly Put?: WriteFields & { readonly Item: Attributes | undefined };
  readonly Update?: WriteFields & {
    readonly Key: Attributes | undefined;
    readonly UpdateExpression: string | undefined;
  };
  readonly Delete?: WriteFields & { readonly Key: Attributes | undefined };
  readonly ConditionCheck?: WriteFields & {
    readonly Key: Attributes | undefined;
    readonly ConditionExpression: string | undefined;
  };
}

interface WriteFields {
  readonly TableName: string | undefined;
  readonly ConditionExpression?: string | undefined;
  readonly ExpressionAttributeNames?: Record<string, string> | undefined;
  readonly ExpressionAttributeValues?: Attributes | undefined;
  readonly ReturnValuesOnConditionCheckFailure?: string | undefined;
}

/** A message that is staged in a transaction, for a relay or a pipe to publish. */
export interface StagedMessage {
  readonly name: string;
  /** From 0. */
  readonly position: number;
  readonly destination: string;
  /** As text; sealed, as bytes. */
  readonly body: string | Uint8Array;
  readonly groupId: string;
  readonly deduplicationId: string;
}

/** A lane's position, as it is moved: by the owner of the lane's claim, who keeps it, or by one without a claim. */
export type Advance = {
  readonly owner: string;
  readonly upTo: string;
} & (
  | { readonly hasClaim: true }
  /** `from` is the position that was read; `undefined` where there was none. The lane is `owner`'s afterwards, and nobody's claim. */
  | { readonly hasClaim: false; readonly from: string | undefined }
);

/** Everything that is to be written at once, or not at all. */
export interface TransactionRequest {
  readonly pk: string;
  readonly window: string;
  readonly nowMs: number;
  readonly endsAtMs: number;
  /** At most 36 characters; the same for every time that this request is sent. */
  readonly token: string;
  /**
   * What becomes of the claim: nothing, if it is still the owner's; its completion; or it is put as completed.
   * Of a lane also: its position is moved.
   */
  readonly claim:
    | { readonly kind: 'check'; readonly owner: string }
    | { readonly kind: 'complete'; readonly completion: Completion }
    | { readonly kind: 'record'; readonly claim: NewClaim; readonly completion: Completion }
    | ({ readonly kind: 'advance' } & Advance)
    | { readonly kind: 'none' };
  readonly step?: NewStep;
  readonly writes: readonly TransactWrite[];
  readonly messages: readonly StagedMessage[];
}

export type Transacted =
  | { readonly outcome: 'applied' }
  | {
      readonly outcome: 'cancelled';
      /** The claim's condition failed, on this record. */
      readonly claim?: { readonly found: ClaimRecord | undefined };
      /** There is a record of this step already. */
      readonly step?: { readonly found: StepRecord | undefined };
      /** Another transaction or a throttled partition was in the way: the same request may succeed. */
      readonly conflict: boolean;
      /** The client has sent it more than once, so an earlier sending may arrive yet. */
      readonly isRepeat?: boolean;
      readonly rejections: readonly Rejection[];
    }
  /** An earlier sending of the same request is still being processed. */
  | { readonly outcome: 'in-progress' }
  /** The token has been used for another request. */
  | { readonly outcome: 'token-reused' };

/** A transaction that has been built: every sending is the same request. */
export interface Transaction {
  /** Rejects with `STORE_UNAVAILABLE` where it cannot be told what became of it. */
  send(): Promise<Transacted>;
}

/** The outcome of a conditional write. A condition that failed is no error: the engine judges the record that it met. */
export type Written =
  | { readonly outcome: 'applied' }
  /** `found` is the record at that moment; `undefined` where there was none. */
  | { readonly outcome: 'stopped'; readonly found: ClaimRecord | undefined };

/** The outcome of a claim or a takeover. */
export type ClaimWritten =
  | Written
  /**
   * Another request was at work on the record for as long as this one tried, so the operation is under way.
   * `isRepeat`: this one was sent before, and that sending may have been applied.
   */
  | { readonly outcome: 'blocked'; readonly isRepeat: boolean };

/** A claim to be given back. */
export interface Return {
  readonly pk: string;
  readonly owner: string;
  /** The latest `nowMs` with which this owner has asked for the claim. */
  readonly askedAtMs: number;
}

/** Encrypts answers, steps' values, staged messages and kept inputs before they are stored, and decrypts them on the way back. */
export interface Seal {
  /** @param context `operation` is the record's partition key: bind it as additional authenticated data. */
  seal(plain: Uint8Array, context: { readonly operation: string }): Promise<Uint8Array> | Uint8Array;
  open(sealed: Uint8Array, context: { readonly operation: string }): Promise<Uint8Array> | Uint8Array;
}

/**
 * The place of an operation in its sender's sequence, as Kafka's idempotent producer numbers its batches (KIP-98).
 * One item stands for the sender: its epoch, its highest completed number, the attempt in flight, and its last five answers.
 *
 * | the place | against the item | its record is |
 * |---|---|---|
 * | `epoch` below the item's | | none: the verb rejects with `FENCED` |
 * | `epoch` above the item's, `number` 0 | nothing in flight | absent |
 * | | in flight | `IN_PROGRESS`, its window over (`endsAtMs: 0`), without a fingerprint |
 * | same epoch, the number in flight | | `IN_PROGRESS`, or `RELEASED` |
 * | same epoch, the next number | nothing in flight | absent |
 * | same epoch, a number that is done | one of the last five | `COMPLETED`, with its answer and fingerprint, in a window that does not end |
 * | | older | `COMPLETED`, without a fingerprint, its answer unavailable (`forgotten`) |
 * | any other number | | none: the verb rejects with `SEQUENCE_GAP` and the expected number |
 * | any | there is no item | absent if `number` is 0 or `startsAnywhere`, else `SEQUENCE_GAP` |
 */
export interface SequencePlace {
  /** Partition key of the sender's item. */
  readonly sender: string;
  /** A whole number from 0, at most 2^53 − 1. A sender that has lost its count begins a higher one. */
  readonly epoch: number;
  /** A whole number from 0, at most 2^53 − 1. */
  readonly number: number;
  /** Whether a sender that is not known yet may begin with any number. */
  readonly startsAnywhere: boolean;
}

/**
 * The records of one lane that have come, as one operation. A lane is a source's records of one order: a Kafka partition, a
 * partition key in a Kinesis shard, an item of DynamoDB Streams. One item stands for the lane: its position, and the attempt in
 * flight. Positions are texts that compare as text.
 *
 * | the lane's item | the record is |
 * |---|---|
 * | is absent | absent |
 * | has a position at `upTo` or beyond | `COMPLETED`, without an answer, and no window ends |
 * | has an attempt in flight | `IN_PROGRESS` |
 * | has none | `RELEASED` |
 *
 * A window lasts until the position is past everything that an attempt of it was given. So a batch that comes again, cut
 * differently, finds the steps of the attempt before.
 */
export interface LanePlace {
  /** Partition key of the lane's item, and of the steps and messages of its attempts. */
  readonly lane: string;
  /** The position of the last of these records. */
  readonly upTo: string;
}

/** A store's view of one lane. Every verb is as in {@link Store}, for the record that {@link LanePlace} describes. */
export interface PositionedStore extends Store {
  /** The position that the last verb has found or left; `undefined` where there was none. */
  position(): string | undefined;
}

/**
 * The port to a database that can write conditionally. Every verb is one atomic step; what the outcomes mean
 * is the operation's business, not the store's. `storeContract` is this port's test.
 *
 * A verb rejects with `STORE_UNAVAILABLE` when it cannot tell what happened or may be repeated, and with
 * `STORE_MISCONFIGURED` when repeating is pointless. Reads are strongly consistent.
 */
export interface Store {
  /** Tells stores on the same data from others, e.g. `dynamodb:orders`. */
  readonly id: string;
  /** Namespace for guards that name none; only for a store that nobody else can reach. */
  readonly defaultNamespace?: string;
  /** @default the system's */
  readonly clock?: Clock;
  readonly seal?: Seal;
  /** The largest encoded answer that is kept; a larger one is completed as `too-large`. */
  readonly maxAnswerBytes: number;

  /**
   * Puts a first attempt's claim, if there is none or the one there is over:
   * `attribute_not_exists(pk) OR (endsAt <= now AND (status = COMPLETED OR leaseUntil <= now))`.
   */
  claim(claim: NewClaim): Promise<ClaimWritten>;
  /** Moves a claim to a new owner, if `owner = previousOwner AND status = IN_PROGRESS`. `endsAt` stays. */
  takeOver(takeover: Takeover): Promise<ClaimWritten>;
  /** Stores the answer and completes, if `owner = owner AND status = IN_PROGRESS`. */
  complete(completion: Completion): Promise<Written>;
  /**
   * Gives a claim back under which nothing was begun: leaves a `RELEASED` record that ends at `askedAtMs + 1` and has no
   * fingerprint. A request of this claim that arrives afterwards fails its condition, and every later claim wins. Applied on the
   * condition of `complete`, and on that of a claim asked for at `askedAtMs`.
   */
  giveBack(claim: Return): Promise<Written>;
  /** Ends the lease now, on the same condition: the next attempt takes over and keeps the window. */
  endLease(claim: { readonly pk: string; readonly owner: string }): Promise<Written>;
  /** The claim as it stands. */
  read(pk: string): Promise<ClaimRecord | undefined>;
  /** Puts a claim that is completed at once, on the condition of `claim`. */
  claimCompleted(claim: NewClaim, completion: Completion): Promise<Written>;
  /** Replaces the answer of a completion, if `owner = owner AND status = COMPLETED`. */
  amend(completion: Completion): Promise<Written>;

  /**
   * The same store for one operation of a sender that numbers what it sends: the operation's record is its place in the sender's
   * item. Every verb is as above, with these conditions of a {@link SequencePlace}, where `free` is: nothing is in flight, or its
   * window and its lease are over.
   *
   * | write | condition |
   * |---|---|
   * | claim of a number above 0 | `epoch = epoch AND last = number - 1 AND free`; there is no item and `startsAnywhere` |
   * | claim of number 0 | there is no item; `epoch = epoch`, no number is done, and `free`; `epoch < epoch`, and nothing is in flight or its lease is over |
   * | takeover, completion, end of a lease | `epoch = epoch`, the number is the one in flight, and that of the verb |
   * | give back | that of a claim, or that of a completion |
   * | amend | `epoch = epoch`, the number is one of the last five, and that of the verb |
   *
   * A claim that begins an epoch forgets what the epoch before has done. `FENCED` and `SEQUENCE_GAP` are rejections of `claim`, `takeOver`,
   * `claimCompleted`, `read`, and of a transaction with a claim of `kind: 'record'`. An owner's other writes are stopped on a
   * record of somebody else, because an owner whose place is gone was overtaken.
   *
   * Without it, numbered senders are refused (`UNSUPPORTED`). A store of `dynamoStore` gets it from `numberedStore`.
   */
  numbered?(place: SequencePlace): Store;

  /**
   * The same store for the records of one lane. A completion moves the lane's position to `upTo` of the place; so does
   * {@link Advance} in a transaction, to any. A position only moves forward. Without it, `eachPartition` is refused
   * (`UNSUPPORTED`). A store of {@link Store.id} `dynamodb:…` gets it from `positionedStore`.
   */
  positioned?(place: LanePlace): PositionedStore;

  /** Without it `step()` and `transaction()` are refused (`UNSUPPORTED`). */
  readonly steps?: StepStore;
  /** Without it `transaction()` is refused, and so is a `commit()` with writes or messages (`UNSUPPORTED`). */
  readonly transactions?: TransactionStore;
}

/** The part of a store that keeps the records of steps. */
export interface StepStore {
  /** Puts a step's record, if there is none. */
  put(step: NewStep): Promise<StepWritten>;
  /** Ends a step that was `STARTED` by the same owner. */
  finish(step: NewStep): Promise<StepWritten>;
  /** All steps and transactions of a window. */
  read(of: { readonly pk: string; readonly window: string }): Promise<StepRecord[]>;
}

/** The part of a store that writes several items at once, or none of them. */
export interface TransactionStore {
  /**
   * Builds a transaction.
   *
   * @throws `BAD_WRITES` where it can be told that the request would be refused
   */
  build(request: TransactionRequest): Promise<Transaction>;
}
