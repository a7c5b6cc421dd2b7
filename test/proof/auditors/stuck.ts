import type { Auditor } from '../simulation/history.ts';

/** Once every lease is over and no fault strikes, every key is answered. */
export const stuck: Auditor = {
  promise: 'no key is stuck beyond its lease',
  audit: ({ calls }) =>
    calls.flatMap(({ id, isProbe, outcome, key }) => {
      if (!isProbe) return [];
      if (outcome === undefined) return [`${id} asked for ${key}, and never was answered`];
      if (outcome.kind === 'answered') return [];
      const { error } = outcome;
      // An operator has to look; the payload was another one.
      const isMeant = ['INDETERMINATE', 'PAYLOAD_MISMATCH', 'RESULT_UNAVAILABLE'].some(
        (code) => (error as { code?: string }).code === code,
      );
      return isMeant
        ? []
        : [`${id} asked for ${key}, and failed: ${(error as { code?: string }).code ?? error}`];
    }),
};
