/** What idemkit promises, each as a reader of histories. A protocol of its own joins with auditors of its own, see `Workload`. */
import type { Auditor } from '../simulation/history.ts';
import { answers } from './answers.ts';
import { attempts } from './attempts.ts';
import { commits } from './commits.ts';
import { nothingDone } from './nothing-done.ts';
import { outbox } from './outbox.ts';
import { steps } from './steps.ts';
import { stuck } from './stuck.ts';
import { tenants } from './tenants.ts';
import { tokens } from './tokens.ts';
import { transitions } from './transitions.ts';
import { turns } from './turns.ts';

export type { Auditor } from '../simulation/history.ts';

export const auditors: readonly Auditor[] = [
  transitions,
  turns,
  commits,
  steps,
  tokens,
  attempts,
  answers,
  nothingDone,
  tenants,
  outbox,
  stuck,
];
