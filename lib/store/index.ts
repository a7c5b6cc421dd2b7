/**
 * The port to a database that can write conditionally, the contract that every store keeps, and a store in memory.
 * This room decides what a store is asked and what it may answer. It never decides what an answer means: `engine` does.
 */
export {
  type AttributeValue,
  type FromStoredOptions,
  fromStored,
  type ToStoredOptions,
  toStored,
  whyUnstorable,
} from './attribute-values.ts';
export { type ContractCase, type ContractOptions, storeContract } from './contract.ts';
export {
  type MemoryRecord,
  type MemoryStore,
  type MemoryStoreOptions,
  memoryStore,
  type WritableTables,
} from './memory-store.ts';
export {
  keptAnswers,
  metByClaim,
  metByOwner,
  neverMs,
  type Placed,
  placed,
  type Sender,
} from './sequence.ts';
export {
  type Advance,
  type ClaimRecord,
  type ClaimWritten,
  type Clock,
  type Completion,
  type LanePlace,
  type NewClaim,
  type NewStep,
  type PositionedStore,
  type Rejection,
  type Return,
  type Seal,
  type SequencePlace,
  type StagedMessage,
  type StepRecord,
  type StepStore,
  type StepWritten,
  type Store,
  type StoredAnswer,
  systemClock,
  type Takeover,
  type Transacted,
  type Transaction,
  type TransactionRequest,
  type TransactionStore,
  type TransactWrite,
  type Unavailable,
  type UnavailableReason,
  type Written,
} from './store.ts';
export {
  badWrites,
  refuseTooMany,
  type StoredWrite,
  storedWrites,
  withoutValues,
  writeKinds,
} from './writes.ts';
