/** Which functions may write to a table, as far as this app's roles and policies show. Complete at synthesis only. */
import { Stack } from 'aws-cdk-lib';
import { CfnManagedPolicy, CfnPolicy, CfnRole } from 'aws-cdk-lib/aws-iam';
import { CfnFunction } from 'aws-cdk-lib/aws-lambda';
import type { IConstruct } from 'constructs';
import { environment } from '../lib/record.ts';
import { areSame, equal, mentions, textOf } from './resolved.ts';

/** An error for each function that has the table in its environment but may not write to it. Its first call would fail. */
export function checkGrants(table: IConstruct, tableName: string, tableArn: string): string[] {
  const constructs = table.node.root.node.findAll();
  return constructs
    .filter((construct) => construct instanceof CfnFunction)
    .filter((fn) => {
      const variables = Stack.of(fn).resolve(fn.environment)?.variables ?? {};
      return equal(variables[environment.table], Stack.of(fn).resolve(tableName));
    })
    .filter((fn) => !mayWrite(fn, constructs, tableArn))
    .map(
      (fn) =>
        `function '${fn.node.path}' has this table as ${environment.table} and may not write to it: use protect(fn) instead of setting the variable, or grants.guard(fn)`,
    );
}

/** Whether a function may write to the table. Where another app decides that, the answer is yes. */
function mayWrite(fn: CfnFunction, constructs: readonly IConstruct[], tableArn: string): boolean {
  const role = constructs
    .filter((construct) => construct instanceof CfnRole)
    .find((candidate) => areSame(fn, fn.role, candidate.attrArn));
  if (role === undefined) return true;
  const documents: { readonly at: IConstruct; readonly document: unknown }[] = [
    { at: role, document: role.policies },
  ];
  const known = new Set<string>();
  for (const policy of constructs) {
    if (!(policy instanceof CfnPolicy || policy instanceof CfnManagedPolicy)) continue;
    known.add(textOf(role, policy.ref));
    if (mentions(policy, policy.roles, role.ref) || mentions(role, role.managedPolicyArns, policy.ref)) {
      documents.push({ at: policy, document: policy.policyDocument });
    }
  }
  const attached: unknown[] = Stack.of(role).resolve(role.managedPolicyArns) ?? [];
  return (
    attached.some((arn) => !known.has(JSON.stringify(arn)) && !isLambdasOwn(arn)) ||
    documents.some(({ at, document }) =>
      statementsIn(Stack.of(at).resolve(document)).some(
        (statement) =>
          statement.Effect === 'Allow' &&
          allowsToPut(statement.Action) &&
          (hasWildcard(statement.Resource) || mentions(at, statement.Resource, tableArn)),
      ),
    )
  );
}

/** Whether a policy is one of Lambda's own, which allow nothing on a table. */
const isLambdasOwn = (arn: unknown): boolean =>
  JSON.stringify(arn).includes(':policy/service-role/AWSLambda');

interface Statement {
  readonly Effect: string;
  /** Absent where the statement has a `NotAction`. */
  readonly Action?: unknown;
  readonly Resource?: unknown;
}

/** The statements of a policy or of a list of policies. */
function statementsIn(value: unknown): Statement[] {
  if (typeof value !== 'object' || value === null) return [];
  return 'Effect' in value ? [value as Statement] : Object.values(value).flatMap(statementsIn);
}

const putPatterns: readonly unknown[] = ['*', 'dynamodb:*', 'dynamodb:Put*', 'dynamodb:PutItem'];

const allowsToPut = (action: unknown): boolean =>
  action === undefined || [action].flat().some((pattern) => putPatterns.includes(pattern));

const hasWildcard = (resource: unknown): boolean =>
  resource === undefined || JSON.stringify(resource).includes('*');
