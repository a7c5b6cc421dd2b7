import { accountId, region } from '../aws/index.ts';

/** What the functions of a template ask about its resources. */
export interface Resources {
  /** @throws Error when there is no such resource or parameter */
  ref(logicalId: string): string;
  /** @throws Error when there is no such resource, or it has no such attribute */
  attribute(logicalId: string, name: string): string;
}

/** `where` names the resource and property, for errors. A property that is `AWS::NoValue` is left out. */
export type Resolve = (value: unknown, where: string) => unknown;

/** What a template may say for an absent value. */
const noValue = Symbol('AWS::NoValue');

/**
 * Resolves `Ref`, `Fn::GetAtt`, `Fn::Join`, `Fn::Sub`, `Fn::Select`, `Fn::Split` and the pseudo parameters.
 *
 * @throws Error for any other function, and for these when they are given what CloudFormation would not take
 * @see https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/intrinsic-function-reference.html
 */
export function createResolver(stackName: string, resources: Resources): Resolve {
  const pseudoParameters: Readonly<Record<string, unknown>> = {
    'AWS::AccountId': accountId,
    'AWS::NoValue': noValue,
    'AWS::Partition': 'aws',
    'AWS::Region': region,
    'AWS::StackId': `arn:aws:cloudformation:${region}:${accountId}:stack/${stackName}/local`,
    'AWS::StackName': stackName,
    'AWS::URLSuffix': 'amazonaws.com',
  };

  const functions: Readonly<Record<string, (argument: unknown, where: string) => unknown>> = {
    Ref: (argument) => refTo(String(argument)),
    'Fn::GetAtt': (argument) => {
      const [id = '', ...path] = Array.isArray(argument) ? argument : String(argument).split('.');
      return resources.attribute(id, path.join('.'));
    },
    'Fn::Join': (argument, where) => {
      const [delimiter, values] = pair(argument, where);
      return texts(values, where).join(String(delimiter));
    },
    'Fn::Split': (argument, where) => {
      const [delimiter, value] = pair(argument, where);
      return text(resolve(value, where), where).split(String(delimiter));
    },
    'Fn::Select': (argument, where) => {
      const [index, values] = pair(argument, where);
      const selected = texts(values, where)[Number(resolve(index, where))];
      if (selected === undefined)
        throw new Error(`${where}: there is no ${index} to select in ${show(values)}.`);
      return selected;
    },
    'Fn::Sub': (argument, where) => {
      const [template, variables] = Array.isArray(argument) ? argument : [argument, {}];
      return String(template).replaceAll(/\$\{(!?)([^}]+)\}/g, (_, literal: string, name: string) => {
        if (literal === '!') return `\${${name}}`;
        if (name in variables) return text(resolve(variables[name], where), where);
        const [id = '', ...path] = name.split('.');
        return path.length === 0 ? text(refTo(name), where) : resources.attribute(id, path.join('.'));
      });
    },
  };

  const refTo = (name: string): unknown =>
    name in pseudoParameters ? pseudoParameters[name] : resources.ref(name);

  const texts = (values: unknown, where: string): string[] => {
    const resolved = resolve(values, where);
    if (!Array.isArray(resolved)) throw new Error(`${where}: expected a list, got ${show(resolved)}.`);
    return resolved.map((value) => text(value, where));
  };

  function resolve(value: unknown, where: string): unknown {
    if (Array.isArray(value)) {
      return value
        .map((item, index) => resolve(item, `${where}[${index}]`))
        .filter((item) => item !== noValue);
    }
    if (typeof value !== 'object' || value === null) return value;
    const entries = Object.entries(value);
    const [name, argument] = entries[0] ?? [];
    if (entries.length === 1 && name !== undefined && (name === 'Ref' || name.startsWith('Fn::'))) {
      const apply = functions[name];
      if (apply !== undefined) return apply(argument, where);
      throw new Error(
        `${where} is ${show(value)}: ${name} is not known here (${Object.keys(functions).join(', ')} are).`,
      );
    }
    return Object.fromEntries(
      entries
        .map(([key, item]) => [key, resolve(item, `${where}.${key}`)])
        .filter(([, item]) => item !== noValue),
    );
  }

  return resolve;
}

function pair(argument: unknown, where: string): [unknown, unknown] {
  if (Array.isArray(argument) && argument.length === 2) return argument as [unknown, unknown];
  throw new Error(`${where}: expected a list of two, got ${show(argument)}.`);
}

function text(value: unknown, where: string): string {
  if (typeof value === 'string' || typeof value === 'number') return String(value);
  throw new Error(`${where}: expected a text, got ${show(value)}.`);
}

const show = (value: unknown): string => JSON.stringify(value) ?? String(value);
