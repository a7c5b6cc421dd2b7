import { Duration } from 'aws-cdk-lib';
import {
  Grant,
  type IGrantable,
  type IPrincipal,
  type IRole,
  Role,
  ServicePrincipal,
} from 'aws-cdk-lib/aws-iam';
import { Architecture, Runtime, Tracing } from 'aws-cdk-lib/aws-lambda';
import { NodejsFunction, type NodejsFunctionProps, OutputFormat } from 'aws-cdk-lib/aws-lambda-nodejs';
import { type ILogGroupRef, LogGroup, LogGroupGrants, RetentionDays } from 'aws-cdk-lib/aws-logs';
import { Construct } from 'constructs';
import { namespaceOf } from './protection.ts';
import type { IIdempotencyTable, ProtectOptions } from './table-base.ts';
import { rememberVariables } from './variables.ts';

/** The properties of `NodejsFunction`, which override this construct's defaults, and how the function keeps its records. */
export interface IdempotentFunctionProps extends Omit<NodejsFunctionProps, 'logRetention'>, ProtectOptions {
  /** The file that exports `handler`. */
  readonly entry: string;
  /** Where the function's guards keep their records. */
  readonly table: IIdempotencyTable;
  /** How long logs are kept. Ignored where `logGroup` is given. @default RetentionDays.ONE_MONTH */
  readonly logRetention?: RetentionDays;
}

/**
 * A `NodejsFunction` whose guards need no options: its environment names the table, the namespace and the TTL.
 * By default it runs Node 24 on arm64 with 512 MB for at most 10 s, traced by X-Ray, from an ESM bundle with source maps.
 * It has a log group and a role of its own.
 */
export class IdempotentFunction extends Construct implements IGrantable {
  readonly function: NodejsFunction;
  readonly logGroup: ILogGroupRef;
  readonly table: IIdempotencyTable;

  constructor(scope: Construct, id: string, props: IdempotentFunctionProps) {
    super(scope, id);
    const {
      table,
      ttl,
      namespace = this.node.path,
      namesKey,
      keepsPositions,
      level,
      destinations,
      logRetention,
      bundling,
      ...overrides
    } = props;
    this.table = table;
    this.logGroup =
      props.logGroup ??
      new LogGroup(this, 'LogGroup', { retention: logRetention ?? RetentionDays.ONE_MONTH });
    const role =
      props.role ?? new Role(this, 'Role', { assumedBy: new ServicePrincipal('lambda.amazonaws.com') });
    this.#allowToRun(role, props.vpc !== undefined);

    const format = bundling?.format ?? OutputFormat.ESM;
    this.function = new NodejsFunction(this, 'Function', {
      runtime: Runtime.NODEJS_24_X,
      architecture: Architecture.ARM_64,
      timeout: Duration.seconds(10),
      memorySize: 512,
      tracing: Tracing.ACTIVE,
      ...overrides,
      role,
      logGroup: this.logGroup,
      environment: { NODE_OPTIONS: '--enable-source-maps', ...props.environment },
      bundling: {
        minify: true,
        sourceMap: true,
        sourcesContent: false,
        ...(format === OutputFormat.ESM && { mainFields: ['module', 'main'], banner: requireInEsm }),
        ...bundling,
        format,
      },
    });
    rememberVariables(this.function, props.environment ?? {});
    table.protect(this.function, {
      namespace,
      ...(ttl && { ttl }),
      ...(namesKey !== undefined && { namesKey }),
      ...(keepsPositions !== undefined && { keepsPositions }),
      ...(level !== undefined && { level }),
      ...(destinations && { destinations }),
    });
  }

  /** The default namespace of the function's guards. */
  get namespace(): string {
    return namespaceOf(this.function);
  }

  get grantPrincipal(): IPrincipal {
    return this.function.grantPrincipal;
  }

  /** Granted one by one: Lambda's managed policies would allow the function to write to every log of the account. */
  #allowToRun(role: IRole, inVpc: boolean): void {
    LogGroupGrants.fromLogGroup(this.logGroup).write(role);
    if (!inVpc) return;
    // A network interface has no ARN before it exists.
    Grant.addToPrincipal({ grantee: role, actions: networkActions, resourceArns: ['*'] });
  }
}

/** @see https://docs.aws.amazon.com/lambda/latest/dg/configuration-vpc.html */
const networkActions = [
  'ec2:AssignPrivateIpAddresses',
  'ec2:CreateNetworkInterface',
  'ec2:DeleteNetworkInterface',
  'ec2:DescribeNetworkInterfaces',
  'ec2:DescribeSubnets',
  'ec2:UnassignPrivateIpAddresses',
];

/** CommonJS dependencies in an ESM bundle still call `require` for Node's own modules. */
const requireInEsm =
  "import { createRequire as __createRequire } from 'node:module'; const require = __createRequire(import.meta.url);";
