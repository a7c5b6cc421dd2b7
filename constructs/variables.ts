import type { Function as LambdaFunction } from 'aws-cdk-lib/aws-lambda';

/** The environments of functions, as far as they were set here. The CDK does not show them. */
const variables = new WeakMap<LambdaFunction, Map<string, string>>();

export function rememberVariables(fn: LambdaFunction, given: Readonly<Record<string, string>>): void {
  variables.set(fn, new Map([...(variables.get(fn) ?? []), ...Object.entries(given)]));
}

/**
 * Sets a variable in a function's environment.
 *
 * @throws Error where the variable is known to have another value; `fix` ends the message
 */
export function addVariable(fn: LambdaFunction, name: string, value: string, fix: string): void {
  const existing = variables.get(fn)?.get(name);
  if (existing !== undefined && existing !== value) {
    throw new Error(`function '${fn.node.path}' has another ${name} in its environment: ${fix}`);
  }
  rememberVariables(fn, { [name]: value });
  fn.addEnvironment(name, value);
}
