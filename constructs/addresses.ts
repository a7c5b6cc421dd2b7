/** Finds where a template names a function. */
import {
  DefaultTokenResolver,
  type IPostProcessor,
  type IResolvable,
  type IResolveContext,
  Reference,
  Tokenization,
} from 'aws-cdk-lib';
import {
  Alias,
  CfnAlias,
  CfnVersion,
  type Function as LambdaFunction,
  Version,
} from 'aws-cdk-lib/aws-lambda';
import type { IConstruct } from 'constructs';

/** Finds values of a template that name a function, an alias of it or a version of it. Complete at synthesis only. */
export interface Addresses {
  /** Whether a value is the name or the ARN. */
  readonly isAddress: (at: IConstruct, value: unknown) => boolean;
  /** Whether a value contains the name or the ARN. */
  readonly isIn: (at: IConstruct, value: unknown) => boolean;
}

export function addressesOf(fn: LambdaFunction): Addresses {
  const own = [fn.functionName, fn.functionArn];
  const qualified = fn.node.root.node.findAll().flatMap((construct) => {
    if (construct instanceof Alias || construct instanceof Version) {
      return construct.lambda === fn ? [construct.functionName, construct.functionArn] : [];
    }
    if (construct instanceof CfnAlias || construct instanceof CfnVersion) {
      const { functionName } = construct;
      return own.some((address) => areSame(construct, address, functionName)) ? [construct.ref] : [];
    }
    return [];
  });
  const addresses = [...own, ...qualified];
  return {
    isAddress: (at, value) => addresses.some((address) => areSame(at, address, value)),
    isIn: (at, value) => {
      const text = textOf(at, value);
      return addresses.some((address) => text.includes(textOf(at, address)));
    },
  };
}

const areSame = (at: IConstruct, a: unknown, b: unknown): boolean => textOf(at, a) === textOf(at, b);

const textOf = (at: IConstruct, value: unknown): string =>
  JSON.stringify(Tokenization.resolve(value, { scope: at, resolver: byPathOfVersion })) ?? '';

/**
 * Resolves a version by its path in the tree, not by its logical id. The logical id is a hash over the function's environment.
 * The TTL in that environment depends on the function's callers. So it must not be asked for while callers are looked for.
 */
class ByPathOfVersion extends DefaultTokenResolver {
  override resolveToken(
    token: IResolvable,
    context: IResolveContext,
    postProcessor: IPostProcessor,
  ): unknown {
    if (Reference.isReference(token) && token.target instanceof CfnVersion) {
      return { version: token.target.node.path, attribute: token.displayName };
    }
    return super.resolveToken(token, context, postProcessor);
  }
}

const byPathOfVersion = new ByPathOfVersion({ join: (left, right) => ({ join: [left, right] }) });
