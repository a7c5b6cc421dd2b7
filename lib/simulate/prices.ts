/**
 * What DynamoDB asks for a million request units on demand, in USD, in US East (N. Virginia), as of November 2024: the prices
 * that `IdempotencyDashboard` takes by default.
 *
 * @see https://aws.amazon.com/dynamodb/pricing/on-demand/
 */
export const prices = {
  region: 'us-east-1',
  asOf: '2024-11',
  perMillionWriteUnits: 0.625,
  perMillionReadUnits: 0.125,
} as const;

/** A claim's attributes beside its answer, in bytes, as the codec counts them too. */
const recordBytes = 400;

/** What a write costs that leaves, or meets, an item with an answer of so many bytes. */
export const writeUnits = (answerBytes: number): number => Math.ceil((recordBytes + answerBytes) / 1024);

/** What a strongly consistent read costs. */
export const readUnits = (answerBytes: number): number => Math.ceil((recordBytes + answerBytes) / 4096);
