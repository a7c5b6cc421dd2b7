import { Duration } from 'aws-cdk-lib';
import { type IGrantable, type IPrincipal, ManagedPolicy, Role, ServicePrincipal } from 'aws-cdk-lib/aws-iam';
import { Architecture, Runtime, Tracing } from 'aws-cdk-lib/aws-lambda';
import { NodejsFunction, type NodejsFunctionProps, OutputFormat } from 'aws-cdk-lib/aws-lambda-nodejs';
import { type ILogGroupRef, LogGroup, LogGroupGrants, RetentionDays } from 'aws-cdk-lib/aws-logs';
import { Construct } from 'constructs';
import type { IIdempotencyTable, ProtectOptions } from './idempotency-table.ts';
import { namespaceOf } from './protection.ts';

/** Any property of `NodejsFunction`, which overrides the defaults below, and how the function keeps its records. */
export interface IdempotentFunctionProps extends Omit<NodejsFunctionProps, 'logRetention'>, ProtectOptions {
  /** The file that exports `handler`. */
  readonly entry: string;
  /** Where the function's guards keep their records. */
  readonly table: IIdempotencyTable;
  /** How long logs are kept, where no `logGroup` is given. @default RetentionDays.ONE_MONTH */
  readonly logRetention?: RetentionDays;
}

/**
 * A `NodejsFunction` whose guards need no options: Node 24 on arm64, an ESM bundle with source maps, a log group and a role of
 * its own, X-Ray tracing, 10 s, 512 MB; and a table for its records.
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
    const role = props.role ?? this.#createRole(props.vpc !== undefined);

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
        target: 'node24',
        minify: true,
        sourceMap: true,
        sourcesContent: false,
        ...(format === OutputFormat.ESM && { mainFields: ['module', 'main'], banner: requireInEsm }),
        ...bundling,
        format,
      },
    });
    table.protect(this.function, {
      namespace,
      ...(ttl && { ttl }),
      ...(level && { level }),
      ...(destinations && { destinations }),
    });
  }

  /** Whose keys the function's guards have by default. */
  get namespace(): string {
    return namespaceOf(this.function);
  }

  get grantPrincipal(): IPrincipal {
    return this.function.grantPrincipal;
  }

  /** Lambda's managed policy allows to write any log of the account. */
  #createRole(inVpc: boolean): Role {
    const role = new Role(this, 'Role', { assumedBy: new ServicePrincipal('lambda.amazonaws.com') });
    LogGroupGrants.fromLogGroup(this.logGroup).write(role);
    if (inVpc) {
      role.addManagedPolicy(
        ManagedPolicy.fromAwsManagedPolicyName('service-role/AWSLambdaVPCAccessExecutionRole'),
      );
    }
    return role;
  }
}

/** CommonJS dependencies in an ESM bundle still call `require` for Node's own modules. */
const requireInEsm =
  "import { createRequire as __createRequire } from 'node:module'; const require = __createRequire(import.meta.url);";
