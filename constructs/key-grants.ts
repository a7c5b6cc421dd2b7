import { Grant, type IGrantable } from 'aws-cdk-lib/aws-iam';
import type { IKey } from 'aws-cdk-lib/aws-kms';

/** Lets a grantee use a key through one AWS service only. The service calls KMS on behalf of its caller. */
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
