import type { Function as LambdaFunction } from 'aws-cdk-lib/aws-lambda';

/** What is known of functions' environments. The CDK does not tell. */
const variables = new WeakMap<LambdaFunction, Map<string, string>>();

export function rememberVariables(fn: LambdaFunction, given: Readonly<Record<string, string>>): void {
  variables.set(fn, new Map([...(variables.get(fn) ?? []), ...Object.entries(given)]));
}

/**
 * Tells a function something in its environment.
 *
 * @throws Error when something else is known to be there by that name
 */
export function addVariable(fn: LambdaFunction, name: string, value: string, fix: string): void {
  const existing = variables.get(fn)?.get(name);
  if (existing !== undefined && existing !== value) {
    throw new Error(`function '${fn.node.path}' has another ${name} in its environment: ${fix}`);
  }
  rememberVariables(fn, { [name]: value });
  fn.addEnvironment(name, value);
}
