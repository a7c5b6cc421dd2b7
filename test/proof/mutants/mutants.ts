/**
 * Faults put into the library on purpose, one at a time. Each must be found; a proof that lets one live proves less than it
 * says.
 */
import { batchMutants } from './batch-mutants.ts';
import { callerMutants } from './caller-mutants.ts';
import { engineMutants } from './engine-mutants.ts';
import { laneMutants } from './lane-mutants.ts';
import type { Mutant } from './mutant.ts';
import { numberedMutants } from './numbered-mutants.ts';
import { operationMutants } from './operation-mutants.ts';
import { sequenceMutants } from './sequence-mutants.ts';
import { storeMutants } from './store-mutants.ts';

export const mutants: readonly Mutant[] = [
  ...storeMutants,
  ...sequenceMutants,
  ...engineMutants,
  ...operationMutants,
  ...batchMutants,
  ...laneMutants,
  ...numberedMutants,
  ...callerMutants,
];
