import { emf } from '../lib/index.ts'; // outside this repository: from 'idemkit'

/** Prints metrics to the function's log, for the dashboard. On a developer's machine it prints none. */
export const metrics = process.env.AWS_EXECUTION_ENV === undefined ? undefined : emf();
