import { Annotations, FeatureFlags, Stack, Token } from 'aws-cdk-lib';
import {
  AccessLogFormat,
  AuthorizationType,
  AwsIntegration,
  EndpointType,
  type IAuthorizer,
  LogGroupLogDestination,
  PassthroughBehavior,
  RestApi,
} from 'aws-cdk-lib/aws-apigateway';
import {
  HttpApi,
  HttpConnectionType,
  HttpIntegrationSubtype,
  HttpIntegrationType,
  HttpMethod,
  HttpNoneAuthorizer,
  HttpRouteIntegration,
  HttpStage,
  type IHttpRouteAuthorizer,
  IntegrationCredentials,
  ParameterMapping,
  PayloadFormatVersion,
  LogGroupLogDestination as StageLogDestination,
} from 'aws-cdk-lib/aws-apigatewayv2';
import { HttpLambdaIntegration } from 'aws-cdk-lib/aws-apigatewayv2-integrations';
import { Grant, type IRole, Role, ServicePrincipal } from 'aws-cdk-lib/aws-iam';
import { LogGroup, RetentionDays } from 'aws-cdk-lib/aws-logs';
import { APIGATEWAY_DISABLE_CLOUDWATCH_ROLE } from 'aws-cdk-lib/cx-api';
import { Construct } from 'constructs';
import type { IdempotentFunction } from './idempotent-function.ts';
import type { IdempotentQueue } from './idempotent-queue.ts';
import { groupHeaderOf, ingestResponses, ingestStatuses, sendMessageForm } from './ingest-templates.ts';
import { grantThrough } from './key-grants.ts';

interface IngestProps {
  /** A FIFO queue. */
  readonly queue: IdempotentQueue;
  /** The route's path, e.g. `/orders`. */
  readonly path: string;
  /** @default HttpMethod.POST */
  readonly method?: HttpMethod;
  /** Requests in a second, of all callers together. Of an API that is created here. @default 100 */
  readonly rateLimit?: number;
  /** Requests at once. @default 200 */
  readonly burstLimit?: number;
  /** How long access logs are kept. @default RetentionDays.ONE_MONTH */
  readonly logRetention?: RetentionDays;
}

interface MappedIngestProps extends IngestProps {
  /** The header that becomes the deduplication id. @default 'Idempotency-Key' */
  readonly header?: string;
  /**
   * What becomes the message group: `$context.…` (best the caller: `$context.authorizer.claims.sub`), `$request.header.…`,
   * `$request.body.…`, or a fixed text, which makes all messages one group.
   */
  readonly messageGroupId: string;
}

/** API Gateway's HTTP API puts the request into the queue itself. It answers 200 with SQS's own answer. */
export interface HttpApiIngestProps extends MappedIngestProps {
  readonly via?: 'http-api';
  /** `'none'` lets everybody in. */
  readonly authorizer: IHttpRouteAuthorizer | 'none';
  /** @default - a new one */
  readonly api?: HttpApi;
}

/** API Gateway's REST API puts the request into the queue itself. It answers 202; 400 without the header, 429 when throttled, 503 when the queue cannot be used. */
export interface RestApiIngestProps extends MappedIngestProps {
  readonly via: 'rest-api';
  /** `'iam'` for signed requests; `'none'` lets everybody in. */
  readonly authorizer: IAuthorizer | 'iam' | 'none';
  /** @default - a new one */
  readonly api?: RestApi;
  /**
   * Whether to set the role that API Gateway writes logs with. There is one for the whole account and Region, and another one that was set before is
   * replaced.
   *
   * @default - as the CDK does: set, unless the feature flag `@aws-cdk/aws-apigateway:disableCloudWatchRole` is on
   */
  readonly cloudWatchRole?: boolean;
}

/**
 * A small guarded function of yours checks the request, derives both ids and sends the message. It finds the queue in `QUEUE_URL`, and may
 * send to it.
 */
export interface FunctionIngestProps extends IngestProps {
  readonly via: 'function';
  readonly handler: IdempotentFunction;
  /** `'none'` lets everybody in. */
  readonly authorizer: IHttpRouteAuthorizer | 'none';
  /** @default - a new one */
  readonly api?: HttpApi;
}

export type FifoIngestProps = HttpApiIngestProps | RestApiIngestProps | FunctionIngestProps;

/**
 * A route that puts requests into a FIFO queue, so that a repeat of one within five minutes is one message. See the three ways for what each
 * of them can and cannot tell its callers.
 */
export class FifoIngest extends Construct {
  readonly api: HttpApi | RestApi;
  /** The route's address, on the default stage. */
  readonly url: string;

  constructor(scope: Construct, id: string, props: FifoIngestProps) {
    super(scope, id);
    check(props);
    if (props.via === 'rest-api') {
      const api = props.api ?? this.#createRestApi(props);
      this.api = api;
      this.url = api.urlForPath(props.path);
      this.#addMethod(api, props);
    } else {
      const api = props.api ?? this.#createHttpApi(props);
      this.api = api;
      this.url = `${api.apiEndpoint}${props.path}`;
      api.addRoutes({
        path: props.path,
        methods: [props.method ?? HttpMethod.POST],
        authorizer: props.authorizer === 'none' ? new HttpNoneAuthorizer() : props.authorizer,
        integration:
          props.via === 'function'
            ? this.#integrateFunction(props)
            : new SendMessageIntegration('Queue', props, this.#createSender(props.queue)),
      });
    }
    if (props.via !== 'function') warnOfRawMapping(this, props);
    if (props.via === undefined || props.via === 'http-api') warnOfContent(this, props.queue);
  }

  #integrateFunction({ handler, queue }: FunctionIngestProps): HttpRouteIntegration {
    handler.function.addEnvironment('QUEUE_URL', queue.queue.queueUrl);
    allowToSend(handler.function.grantPrincipal, queue);
    return new HttpLambdaIntegration('Function', handler.function);
  }

  #createSender(queue: IdempotentQueue): Role {
    const role = new Role(this, 'Sender', {
      assumedBy: new ServicePrincipal('apigateway.amazonaws.com', {
        // API Gateway was seen to say neither its account nor its API when it takes on the role of an integration.
        conditions: { StringEqualsIfExists: { 'aws:SourceAccount': Stack.of(this).account } },
      }),
    });
    allowToSend(role, queue);
    return role;
  }

  #createAccessLog({ logRetention = RetentionDays.ONE_MONTH }: IngestProps): LogGroup {
    return new LogGroup(this, 'AccessLog', { retention: logRetention });
  }

  #createHttpApi(props: IngestProps): HttpApi {
    const api = new HttpApi(this, 'Api', { createDefaultStage: false });
    new HttpStage(this, 'Stage', {
      httpApi: api,
      stageName: '$default',
      autoDeploy: true,
      throttle: { rateLimit: props.rateLimit ?? 100, burstLimit: props.burstLimit ?? 200 },
      accessLogSettings: {
        destination: new StageLogDestination(this.#createAccessLog(props)),
        format: logLinesWith({ route: '$context.routeKey' }),
      },
    });
    return api;
  }

  #createRestApi(props: RestApiIngestProps): RestApi {
    const { cloudWatchRole } = props;
    if (cloudWatchRole === undefined && FeatureFlags.of(this).isEnabled(APIGATEWAY_DISABLE_CLOUDWATCH_ROLE)) {
      Annotations.of(this).addWarningV2(
        'idemkit:ingest:cloudwatch-role',
        `API Gateway refuses access logs while the account has no role for them in this Region, and '${APIGATEWAY_DISABLE_CLOUDWATCH_ROLE}' leaves it out: say cloudWatchRole: true to set it for the whole account, or false where it has one`,
      );
    }
    return new RestApi(this, 'Api', {
      ...(cloudWatchRole !== undefined && { cloudWatchRole }),
      // By default it would be an edge-optimized one, whose requests all travel by way of CloudFront.
      endpointTypes: [EndpointType.REGIONAL],
      deployOptions: {
        throttlingRateLimit: props.rateLimit ?? 100,
        throttlingBurstLimit: props.burstLimit ?? 200,
        tracingEnabled: true,
        accessLogDestination: new LogGroupLogDestination(this.#createAccessLog(props)),
        accessLogFormat: logLinesWith({ route: '$context.resourcePath' }),
      },
    });
  }

  #addMethod(api: RestApi, props: RestApiIngestProps): void {
    const { queue, authorizer, header = 'Idempotency-Key' } = props;
    const integration = new AwsIntegration({
      service: 'sqs',
      path: `${Stack.of(queue).account}/${queue.queue.queueName}`,
      integrationHttpMethod: 'POST',
      options: {
        credentialsRole: this.#createSender(queue),
        passthroughBehavior: PassthroughBehavior.NEVER,
        requestParameters: {
          'integration.request.header.Content-Type': "'application/x-www-form-urlencoded'",
        },
        requestTemplates: { 'application/json': sendMessageForm(header, props.messageGroupId) },
        integrationResponses: ingestResponses,
      },
    });
    api.root.resourceForPath(props.path).addMethod(props.method ?? HttpMethod.POST, integration, {
      ...(typeof authorizer === 'string'
        ? { authorizationType: authorizer === 'iam' ? AuthorizationType.IAM : AuthorizationType.NONE }
        : { authorizer }),
      // A request without them would reach SQS, which refuses it as well, but at the price of a request.
      requestParameters: Object.fromEntries(
        [header, groupHeaderOf(props.messageGroupId)]
          .filter((name) => name !== undefined)
          .map((name) => [`method.request.header.${name}`, true]),
      ),
      requestValidatorOptions: { validateRequestParameters: true },
      methodResponses: ingestStatuses.map((statusCode) => ({ statusCode })),
    });
  }
}

/** The HTTP API's integration with SQS; the CDK's own knows no key of yours. */
class SendMessageIntegration extends HttpRouteIntegration {
  readonly #props: HttpApiIngestProps;
  readonly #role: IRole;

  constructor(id: string, props: HttpApiIngestProps, role: IRole) {
    super(id);
    this.#props = props;
    this.#role = role;
  }

  override bind() {
    const { queue, header = 'Idempotency-Key', messageGroupId } = this.#props;
    return {
      type: HttpIntegrationType.AWS_PROXY,
      subtype: HttpIntegrationSubtype.SQS_SEND_MESSAGE,
      credentials: IntegrationCredentials.fromRole(this.#role),
      connectionType: HttpConnectionType.INTERNET,
      payloadFormatVersion: PayloadFormatVersion.VERSION_1_0,
      parameterMapping: new ParameterMapping()
        .custom('QueueUrl', queue.queue.queueUrl)
        .custom('MessageBody', '$request.body')
        .custom('MessageDeduplicationId', `$request.header.${header}`)
        .custom('MessageGroupId', messageGroupId),
    };
  }
}

function allowToSend(grantee: Role | IdempotentFunction['grantPrincipal'], { queue }: IdempotentQueue): void {
  Grant.addToPrincipal({ grantee, actions: ['sqs:SendMessage'], resourceArns: [queue.queueArn] });
  const key = queue.encryptionMasterKey;
  if (key) grantThrough('sqs', key, grantee, 'kms:Decrypt', 'kms:GenerateDataKey');
}

/**
 * Lines of JSON. None of the values is a text of the caller's: one with a quotation mark in it would break the line, and an error's message may repeat what
 * was sent to sign in with.
 */
const logLinesWith = (route: Readonly<Record<string, string>>): AccessLogFormat =>
  AccessLogFormat.custom(
    JSON.stringify({
      requestId: '$context.requestId',
      time: '$context.requestTime',
      ip: '$context.identity.sourceIp',
      method: '$context.httpMethod',
      ...route,
      status: '$context.status',
      bytes: '$context.responseLength',
      error: '$context.error.responseType',
      integrationStatus: '$context.integrationStatus',
    }),
  );

function check(props: FifoIngestProps): void {
  const { queue, path } = props;
  if (props.authorizer === undefined) {
    throw new Error(
      "authorizer is missing, and without one everybody could fill the queue: give one, or say authorizer: 'none'",
    );
  }
  if (!queue.fifo) {
    throw new Error(
      `queue '${queue.node.path}' is a standard queue, which deduplicates nothing: make it fifo: true`,
    );
  }
  if (!Token.isUnresolved(path) && !path.startsWith('/'))
    throw new Error(`path is '${path}': begin it with a slash, e.g. '/orders'`);
  if (props.via === 'function') return;
  const { messageGroupId, header = 'Idempotency-Key' } = props;
  if (
    !Token.isUnresolved(messageGroupId) &&
    !/^(?:\$context(?:\.\w+)+|\$request\.header\.[\w-]+|\$request\.body(?:\.\w+)+|[\w.:-]{1,128})$/.test(
      messageGroupId,
    )
  ) {
    throw new Error(
      `messageGroupId is '${messageGroupId}': use $context.authorizer.claims.sub, $request.header.<name>, $request.body.<path>, or a fixed text of letters, digits and . : _ -`,
    );
  }
  if (!/^[\w-]+$/.test(header))
    throw new Error(`header is '${header}': use a name such as 'Idempotency-Key'`);
}

/** A REST API demands the header. An HTTP API hands a request without it on, and such a queue takes it. */
function warnOfContent(scope: Construct, queue: IdempotentQueue): void {
  if (!queue.contentBasedDeduplication) return;
  Annotations.of(scope).addWarningV2(
    'idemkit:ingest:content-deduplication',
    `contentBasedDeduplication is true on '${queue.node.path}': a request without the header is taken in all the same, deduplicated by its body. Set it to false, or use via: 'rest-api' or 'function'`,
  );
}

/** What names the authenticated caller. */
const callerPattern = /^\$context\.(?:authorizer\.|identity\.(?:userArn|caller|cognitoIdentityId|apiKeyId)$)/;

function warnOfRawMapping(scope: Construct, { queue, messageGroupId }: MappedIngestProps): void {
  const perCaller = queue.highThroughput && callerPattern.test(messageGroupId);
  const limits = [
    'a key that is used again with another body within five minutes is accepted and its message dropped, where a guard answers 422',
    'SQS refuses keys with a space or with more than 128 characters, and "k" and k are two keys',
    ...(perCaller
      ? []
      : [
          'two callers who use one key are taken for one, and the second one loses its message (unless the queue is highThroughput and messageGroupId is the caller)',
        ]),
  ];
  Annotations.of(scope).addWarningV2(
    'idemkit:ingest:raw-mapping',
    `the header becomes the deduplication id as it is: ${limits.join('; ')}. Use via: 'function' where that matters`,
  );
}
