import {
  managedPolicy,
  type RoleDescription,
  type Statement,
  statementsOf,
  trustedServices,
} from '../aws/index.ts';
import type { Resource, TemplateReader } from './reader.ts';

const roleType = 'AWS::IAM::Role';

/** Roles by name, each with all that its policies say. */
export function describeRoles(reader: TemplateReader): Record<string, RoleDescription> {
  const statements = new Map<string, Statement[]>();
  const attach = (role: string, more: readonly Statement[]): void => {
    statements.set(role, [...(statements.get(role) ?? []), ...more]);
  };

  const policies = reader
    .of('AWS::IAM::Policy', 'AWS::IAM::ManagedPolicy')
    .map(({ properties, id, type }) => {
      const says = statementsOf(properties.raw('PolicyDocument'), `${properties.where}.PolicyDocument`);
      if (type === 'AWS::IAM::ManagedPolicy') {
        properties.optionalText('Description');
        properties.optionalText('Path');
      }
      for (const role of properties.optionalTexts('Roles') ?? []) {
        attach(reader.referredTo(role, `${properties.where}.Roles`, roleType).name, says);
      }
      return { id, says };
    });

  function statementsOfArn(arn: string, where: string): readonly Statement[] {
    if (arn.startsWith('arn:aws:iam::aws:')) return managedPolicy(arn, where);
    const { id } = reader.referredTo(arn, where, 'AWS::IAM::ManagedPolicy');
    return policies.find((policy) => policy.id === id)?.says ?? [];
  }

  return Object.fromEntries(
    reader.of(roleType).map(({ name, properties }: Resource) => {
      const { where } = properties;
      const trusts = trustedServices(
        properties.raw('AssumeRolePolicyDocument'),
        `${where}.AssumeRolePolicyDocument`,
      );
      for (const arn of properties.optionalTexts('ManagedPolicyArns') ?? []) {
        attach(name, statementsOfArn(arn, `${where}.ManagedPolicyArns`));
      }
      for (const inline of properties.objects('Policies')) {
        inline.optionalText('PolicyName');
        attach(name, statementsOf(inline.raw('PolicyDocument'), `${inline.where}.PolicyDocument`));
      }
      return [name, { trusts, statements: statements.get(name) ?? [] }];
    }),
  );
}
