/** Values that may be tokens: those are known only when the template is deployed. */
import { type Duration, Stack, Token } from 'aws-cdk-lib';
import type { IConstruct } from 'constructs';

/** A duration in seconds; `undefined` for a token. */
export const knownSeconds = (duration: Duration): number | undefined =>
  duration.isUnresolved() ? undefined : duration.toSeconds();

/** A number as the template has it; `whenAbsent` where the template has none; `undefined` for a token. */
export function knownNumber(at: IConstruct, value: unknown, whenAbsent: number): number | undefined {
  const resolved = Token.isUnresolved(value) ? Stack.of(at).resolve(value) : value;
  if (resolved === undefined) return whenAbsent;
  return typeof resolved === 'number' ? resolved : undefined;
}
