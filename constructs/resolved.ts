/** Compares values as the template has them, tokens resolved. */
import { Stack } from 'aws-cdk-lib';
import type { IConstruct } from 'constructs';

export const equal = (a: unknown, b: unknown): boolean =>
  a !== undefined && JSON.stringify(a) === JSON.stringify(b);

/** Whether two values are the same in the template of `at`. */
export const areSame = (at: IConstruct, a: unknown, b: unknown): boolean =>
  equal(Stack.of(at).resolve(a), Stack.of(at).resolve(b));

/** A value of the template of `at`, as text. */
export const textOf = (at: IConstruct, value: unknown): string =>
  JSON.stringify(Stack.of(at).resolve(value)) ?? '';

/** Whether a value contains another one. */
export const mentions = (at: IConstruct, value: unknown, part: unknown): boolean =>
  textOf(at, value).includes(textOf(at, part));
