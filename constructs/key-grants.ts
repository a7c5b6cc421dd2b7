import { Grant, type IGrantable } from 'aws-cdk-lib/aws-iam';
import type { IKey } from 'aws-cdk-lib/aws-kms';

/** Lets somebody use a key through one service of AWS, which calls KMS on behalf of who calls it, and in no other way. */
export function grantThrough(
  service: 'dynamodb' | 'sqs',
  key: IKey,
  grantee: IGrantable,
  ...actions: readonly string[]
): Grant {
  return Grant.addToPrincipalOrResource({
    grantee,
    actions: [...actions],
    resourceArns: [key.keyArn],
    resource: key,
    resourceSelfArns: ['*'],
    conditions: { StringEquals: { 'kms:ViaService': `${service}.${key.env.region}.amazonaws.com` } },
  });
}
