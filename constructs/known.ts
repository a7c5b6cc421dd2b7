import { type Duration, Stack, Token } from 'aws-cdk-lib';
import type { IConstruct } from 'constructs';

/** Seconds of a duration; nothing for a token, whose value is known only when it is deployed. */
export const knownSeconds = (duration: Duration): number | undefined =>
  duration.isUnresolved() ? undefined : duration.toSeconds();

/** A number as the template has it, `whenAbsent` where it has none; nothing for one that is known only when it is deployed. */
export function knownNumber(at: IConstruct, value: unknown, whenAbsent: number): number | undefined {
  const resolved = Token.isUnresolved(value) ? Stack.of(at).resolve(value) : value;
  if (resolved === undefined) return whenAbsent;
  return typeof resolved === 'number' ? resolved : undefined;
}
