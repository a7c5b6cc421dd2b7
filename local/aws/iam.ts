import { randomUUID } from 'node:crypto';
import type { ServiceAnswer } from '../faults/index.ts';
import { accountId, credentials, region } from './account.ts';

/** A statement of an identity policy. Actions and resources may have `*` and `?` in them. */
export interface Statement {
  readonly effect: 'Allow' | 'Deny';
  readonly actions: readonly string[];
  readonly resources: readonly string[];
}

export interface RoleDescription {
  readonly statements: readonly Statement[];
  /** Services that may take the role on, e.g. `lambda.amazonaws.com`. */
  readonly trusts: readonly string[];
}

/** One thing that a request does: a transaction does several. */
export interface Call {
  /** E.g. `dynamodb:PutItem`. */
  readonly action: string;
  /** An ARN. */
  readonly resource: string;
}

export interface ExercisedCall extends Call {
  readonly role: string;
}

export interface Refusal {
  readonly type: 'AccessDeniedException' | 'UnrecognizedClientException';
  readonly message: string;
}

/** Who is behind an access key id, and what they may do. */
export interface Authorizer {
  /**
   * A service takes the role on, for a function or pipe called `session`. Returns the access key id for its requests.
   *
   * @throws Error when the role does not trust the service
   */
  assume(role: string, service: string, session: string): string;
  /** `undefined` when the policies allow all of the calls, and for the access key id of this machine's own clients. */
  refusal(accessKeyId: string | undefined, calls: readonly Call[]): Refusal | undefined;
  /** Whether a request would be allowed. That is no request: nothing is exercised. */
  allows(accessKeyId: string, call: Call): boolean;
  /** Everything that was asked for and allowed so far, each once. Live. */
  readonly exercised: readonly ExercisedCall[];
}

/**
 * Decides on requests by the identity policies of roles: an explicit Deny first, then any Allow. Resource policies,
 * permissions boundaries and policies of an organization are not looked at.
 *
 * @see https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html
 */
export function createAuthorizer(roles: Readonly<Record<string, RoleDescription>>): Authorizer {
  const sessions = new Map<string, { readonly role: string; readonly arn: string }>();
  const exercised = new Map<string, ExercisedCall>();

  function refusalOf(role: string, call: Call): string | undefined {
    const matching = (roles[role]?.statements ?? []).filter((statement) => isAbout(statement, call));
    if (matching.some(({ effect }) => effect === 'Deny')) {
      return 'with an explicit deny in an identity-based policy';
    }
    if (matching.length === 0) return `because no identity-based policy allows the ${call.action} action`;
    return undefined;
  }

  return {
    assume(role, service, session) {
      const description = roles[role];
      if (description === undefined) {
        throw new Error(`'${session}' has the role '${role}', which is none of the roles.`);
      }
      if (!description.trusts.includes(service)) {
        throw new Error(
          `The role '${role}' of '${session}' cannot be assumed by ${service}: it trusts ${description.trusts.join(', ') || 'nobody'}.`,
        );
      }
      const accessKeyId = accessKeyIdOf(session);
      const arn = `arn:aws:sts::${accountId}:assumed-role/${role}/${session}`;
      const known = sessions.get(accessKeyId);
      if (known !== undefined && known.arn !== arn) {
        throw new Error(`'${session}' and ${known.arn} would have one access key id: rename one of them.`);
      }
      sessions.set(accessKeyId, { role, arn });
      return accessKeyId;
    },
    refusal(accessKeyId, calls) {
      if (accessKeyId === credentials.accessKeyId) return undefined;
      const session = sessions.get(accessKeyId ?? '');
      if (session === undefined) {
        const message = 'The security token included in the request is invalid.';
        return { type: 'UnrecognizedClientException', message };
      }
      for (const call of calls) {
        const why = refusalOf(session.role, call);
        if (why === undefined) continue;
        const message = `User: ${session.arn} is not authorized to perform: ${call.action} on resource: ${call.resource} ${why}`;
        return { type: 'AccessDeniedException', message };
      }
      for (const call of calls) {
        exercised.set(`${session.role} ${call.action} ${call.resource}`, { role: session.role, ...call });
      }
      return undefined;
    },
    allows(accessKeyId, call) {
      const session = sessions.get(accessKeyId);
      return session !== undefined && refusalOf(session.role, call) === undefined;
    },
    get exercised() {
      return [...exercised.values()];
    },
  };
}

/** Names who signs. DynamoDB Local takes letters and digits only. */
const accessKeyIdOf = (session: string): string => `local${session.replaceAll(/[^A-Za-z0-9]/g, '')}`;

function isAbout({ actions, resources }: Statement, { action, resource }: Call): boolean {
  return (
    actions.some((pattern) => matchesWildcards(pattern.toLowerCase(), action.toLowerCase())) &&
    resources.some((pattern) => matchesWildcards(pattern, resource))
  );
}

/** `*` is any text, `?` any character. */
export function matchesWildcards(pattern: string, text: string): boolean {
  const source = pattern
    .replaceAll(/[.+^${}()|[\]\\]/g, '\\$&')
    .replaceAll('*', '.*')
    .replaceAll('?', '.');
  return new RegExp(`^${source}$`, 's').test(text);
}

/** What DynamoDB and SQS answer to who may not. */
export const refusalAnswer = ({ type, message }: Refusal): ServiceAnswer => ({
  status: 400,
  rawHeaders: [
    ...['content-type', 'application/x-amz-json-1.0'],
    ...['x-amzn-requestid', randomUUID()],
    // SQS adds what its errors were called in an older protocol.
    ...[
      'x-amzn-query-error',
      `${type === 'AccessDeniedException' ? 'AccessDenied' : 'InvalidClientTokenId'};Sender`,
    ],
  ],
  bytes: Buffer.from(JSON.stringify({ __type: `com.amazon.coral.service#${type}`, Message: message })),
});

/**
 * The statements of an identity policy's document.
 *
 * @throws Error for what is not evaluated here: conditions, `NotAction`, `NotResource`
 */
export function statementsOf(document: unknown, where: string): Statement[] {
  return listOf((document as { Statement?: unknown } | undefined)?.Statement).map((statement, index) => {
    const { Sid, Effect, Action, Resource, ...rest } = statement as Record<string, unknown>;
    const at = `${where}.Statement[${index}]${Sid === undefined ? '' : ` '${Sid}'`}`;
    const [unknown] = Object.entries(rest);
    if (unknown !== undefined) {
      throw new Error(`${at}: ${unknown[0]} (${JSON.stringify(unknown[1])}) is not evaluated here.`);
    }
    if (Effect !== 'Allow' && Effect !== 'Deny') {
      throw new Error(`${at}: Effect is ${JSON.stringify(Effect)}; expected Allow or Deny.`);
    }
    return {
      effect: Effect,
      actions: textsOf(Action, `${at}.Action`),
      resources: textsOf(Resource, `${at}.Resource`),
    };
  });
}

/**
 * The services that a role's trust policy lets take it on. A condition may say that the service acts for this account, or for
 * something in it.
 *
 * @throws Error for other conditions, other principals and other actions
 */
export function trustedServices(document: unknown, where: string): string[] {
  return listOf((document as { Statement?: unknown } | undefined)?.Statement).flatMap((statement, index) => {
    const { Sid: _, Effect, Action, Principal, Condition, ...rest } = statement as Record<string, unknown>;
    const { Service, ...others } = (Principal ?? {}) as Record<string, unknown>;
    const isPlain =
      Effect === 'Allow' && Action === 'sts:AssumeRole' && Object.keys({ ...others, ...rest }).length === 0;
    if (!isPlain || !isForThisAccount(Condition)) {
      throw new Error(
        `${where}.Statement[${index}]: ${JSON.stringify(statement)} is not evaluated here; expected to allow sts:AssumeRole to a service, at most with conditions that aws:SourceAccount and aws:SourceArn are of this account.`,
      );
    }
    return textsOf(Service, `${where}.Statement[${index}].Principal.Service`);
  });
}

function isForThisAccount(condition: unknown): boolean {
  const { StringEquals, StringEqualsIfExists, ArnLike, ...others } = (condition ?? {}) as Record<
    string,
    object
  >;
  const isAccount = (account: string) => account === accountId;
  const isInAccount = (arn: string) =>
    /^arn:aws:\w+:([^:*]+):(\d+):/.exec(arn)?.slice(1).join() === `${region},${accountId}`;
  return (
    Object.keys(others).length === 0 &&
    isOnly('aws:SourceAccount', StringEquals, isAccount) &&
    isOnly('aws:SourceAccount', StringEqualsIfExists, isAccount) &&
    isOnly('aws:SourceArn', ArnLike, isInAccount)
  );
}

const isOnly = (key: string, operands: object | undefined, passes: (value: string) => boolean): boolean =>
  Object.entries(operands ?? {}).every(([name, value]) => name === key && passes(String(value)));

const listOf = (value: unknown): unknown[] => (value === undefined ? [] : [value].flat());

function textsOf(value: unknown, where: string): string[] {
  const list = listOf(value);
  if (list.length > 0 && list.every((item) => typeof item === 'string')) return list as string[];
  throw new Error(`${where} is ${JSON.stringify(value)}; expected a text or a list of texts.`);
}

const logs: Statement = {
  effect: 'Allow',
  actions: ['logs:CreateLogGroup', 'logs:CreateLogStream', 'logs:PutLogEvents'],
  resources: ['*'],
};

/** Policies of AWS's that a role may name, as far as requests here are concerned. */
const managedPolicies: Readonly<Record<string, readonly Statement[]>> = {
  'arn:aws:iam::aws:policy/service-role/AWSLambdaBasicExecutionRole': [logs],
  'arn:aws:iam::aws:policy/service-role/AWSLambdaSQSQueueExecutionRole': [
    logs,
    {
      effect: 'Allow',
      actions: ['sqs:ReceiveMessage', 'sqs:DeleteMessage', 'sqs:GetQueueAttributes'],
      resources: ['*'],
    },
  ],
  'arn:aws:iam::aws:policy/service-role/AWSLambdaDynamoDBExecutionRole': [
    logs,
    {
      effect: 'Allow',
      actions: [
        'dynamodb:DescribeStream',
        'dynamodb:GetRecords',
        'dynamodb:GetShardIterator',
        'dynamodb:ListStreams',
      ],
      resources: ['*'],
    },
  ],
};

/** @throws Error for a policy of AWS whose statements are not known here */
export function managedPolicy(arn: string, where: string): readonly Statement[] {
  const statements = managedPolicies[arn];
  if (statements !== undefined) return statements;
  throw new Error(
    `${where}: what '${arn}' allows is not known here (known are ${Object.keys(managedPolicies).join(', ')}).`,
  );
}
