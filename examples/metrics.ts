import { emf } from '../lib/index.ts'; // outside this repository: from 'idemkit'

/** Metrics in the function's log, for the dashboard. On a developer's machine they would only be in the way. */
export const metrics = process.env.AWS_EXECUTION_ENV === undefined ? undefined : emf();
