import { Annotations, FeatureFlags, Stack, Token } from 'aws-cdk-lib';
import {
  AccessLogFormat,
  AuthorizationType,
  AwsIntegration,
  EndpointType,
  type IAuthorizer,
  type IRestApi,
  LogGroupLogDestination,
  type MethodOptions,
  PassthroughBehavior,
  RequestValidator,
  RestApi,
  RestApiBase,
} from 'aws-cdk-lib/aws-apigateway';
import {
  HttpApi,
  HttpConnectionType,
  HttpIntegrationSubtype,
  HttpIntegrationType,
  HttpMethod,
  HttpNoneAuthorizer,
  HttpRoute,
  HttpRouteIntegration,
  type HttpRouteIntegrationBindOptions,
  HttpRouteKey,
  HttpStage,
  type IHttpApi,
  type IHttpRouteAuthorizer,
  IntegrationCredentials,
  ParameterMapping,
  PayloadFormatVersion,
  LogGroupLogDestination as StageLogDestination,
} from 'aws-cdk-lib/aws-apigatewayv2';
import { HttpLambdaIntegration } from 'aws-cdk-lib/aws-apigatewayv2-integrations';
import { type IRole, Role, ServicePrincipal } from 'aws-cdk-lib/aws-iam';
import { LogGroup, RetentionDays } from 'aws-cdk-lib/aws-logs';
import { APIGATEWAY_DISABLE_CLOUDWATCH_ROLE } from 'aws-cdk-lib/cx-api';
import { Construct } from 'constructs';
import { groupHeaderOf, ingestResponses, ingestStatuses, sendMessageForm } from './ingest-templates.ts';
import { namespaceOf } from './protection.ts';
import type { IIdempotentQueue } from './queue-base.ts';
import { type GuardedFunction, targetOf } from './targets.ts';
import { addVariable } from './variables.ts';

interface IngestProps {
  /** A FIFO queue. */
  readonly queue: IIdempotentQueue;
  /** The route's path, e.g. `/orders`. */
  readonly path: string;
  /** @default HttpMethod.POST */
  readonly method?: HttpMethod;
  /** How many requests a second the API takes, of all callers together. Ignored where `api` is given. @default 100 */
  readonly rateLimit?: number;
  /** How many requests the API takes at once. Ignored where `api` is given. @default 200 */
  readonly burstLimit?: number;
  /** How long access logs are kept. Ignored where `api` is given. @default RetentionDays.ONE_MONTH */
  readonly logRetention?: RetentionDays;
}

interface MappedIngestProps extends IngestProps {
  /** The header that becomes the deduplication id. @default 'Idempotency-Key' */
  readonly header?: string;
  /**
   * What becomes the message group: `$context.…`, `$request.header.…`, `$request.body.…`, or a fixed text, which makes all
   * messages one group. The caller is best: `$context.authorizer.claims.sub`.
   */
  readonly messageGroupId: string;
}

/** An HTTP API puts the request into the queue without a function. It answers 200, with SQS's own answer. */
export interface HttpApiIngestProps extends MappedIngestProps {
  readonly via?: 'http-api';
  /** `'none'` lets everybody in. */
  readonly authorizer: IHttpRouteAuthorizer | 'none';
  /** @default - a new one */
  readonly api?: IHttpApi;
}

/**
 * A REST API puts the request into the queue without a function. It answers 202. Without the header it answers 400, when SQS
 * throttles 429, and when the queue cannot be used 503.
 */
export interface RestApiIngestProps extends MappedIngestProps {
  readonly via: 'rest-api';
  /** `'iam'` for signed requests; `'none'` lets everybody in. */
  readonly authorizer: IAuthorizer | 'iam' | 'none';
  /** The API. If this app does not deploy it, it serves the route only after its next deployment. @default - a new one */
  readonly api?: IRestApi;
  /**
   * Whether to set the role with which API Gateway writes logs. An account has one such role for each Region, and this replaces
   * the one that was set before.
   *
   * @default - as the CDK does: set, unless the feature flag `@aws-cdk/aws-apigateway:disableCloudWatchRole` is on
   */
  readonly cloudWatchRole?: boolean;
}

/**
 * Your own guarded function checks the request, derives the deduplication id and the group, and sends the message. The
 * construct gives it the queue's URL in its environment, and permission to send.
 */
export interface FunctionIngestProps extends IngestProps {
  readonly via: 'function';
  /** The function, or an alias or a version of it. */
  readonly handler: GuardedFunction;
  /** The environment variable with the queue's URL. A handler of two queues needs two names. @default 'QUEUE_URL' */
  readonly queueUrlVariable?: string;
  /** `'none'` lets everybody in. */
  readonly authorizer: IHttpRouteAuthorizer | 'none';
  /** @default - a new one */
  readonly api?: IHttpApi;
}

export type FifoIngestProps = HttpApiIngestProps | RestApiIngestProps | FunctionIngestProps;

/**
 * A route that puts requests into a FIFO queue. A request that is repeated within five minutes becomes one message.
 * `via` chooses one of three ways, which differ in what they can tell their callers.
 */
export class FifoIngest extends Construct {
  readonly api: IHttpApi | IRestApi;
  readonly #path: string;

  constructor(scope: Construct, id: string, props: FifoIngestProps) {
    super(scope, id);
    check(props);
    this.#path = props.path;
    if (props.via === 'rest-api') {
      const api = props.api ?? this.#createRestApi(props);
      this.api = api;
      this.#addMethod(api, props);
      if (api.latestDeployment === undefined) warnOfDeployment(this, api);
    } else {
      const api = props.api ?? this.#createHttpApi(props);
      this.api = api;
      this.#addRoute(api, props);
    }
    if (props.via !== 'function') warnOfRawMapping(this, props);
    if (props.via === undefined || props.via === 'http-api') warnOfContent(this, props.queue);
  }

  /**
   * The route's URL, on the default stage.
   *
   * @throws Error for an imported API whose address or stage is not known
   */
  get url(): string {
    const { api } = this;
    if ('apiEndpoint' in api) return `${api.apiEndpoint}${this.#path}`;
    if (api instanceof RestApiBase) return api.urlForPath(this.#path);
    throw new Error(`the API '${api.node.path}' does not tell its address`);
  }

  #addRoute(api: IHttpApi, props: HttpApiIngestProps | FunctionIngestProps): void {
    const { path, method = HttpMethod.POST } = props;
    const authorizer = props.authorizer === 'none' ? new HttpNoneAuthorizer() : props.authorizer;
    const integration =
      props.via === 'function'
        ? this.#integrateFunction(props)
        : new SendMessageIntegration('Queue', props, this.#createSender(props.queue));
    if (api instanceof HttpApi) {
      api.addRoutes({ path, methods: [method], authorizer, integration });
    } else {
      const routeKey = HttpRouteKey.with(path, method);
      new HttpRoute(this, 'Route', { httpApi: api, routeKey, authorizer, integration });
    }
  }

  #integrateFunction(props: FunctionIngestProps): HttpRouteIntegration {
    const { handler, queue, queueUrlVariable = 'QUEUE_URL' } = props;
    const { called, fn } = targetOf(handler);
    // Throws where the function keeps no records.
    namespaceOf(fn);
    const fix = `give one of the two another name, e.g. queueUrlVariable: '${this.node.id.toUpperCase().replaceAll(/\W/g, '_')}_QUEUE_URL'`;
    addVariable(fn, queueUrlVariable, queue.queue.queueUrl, fix);
    queue.grantSendMessages(called);
    return new HttpLambdaIntegration('Function', called);
  }

  #createSender(queue: IIdempotentQueue): Role {
    const role = new Role(this, 'Sender', {
      assumedBy: new ServicePrincipal('apigateway.amazonaws.com', {
        // As observed, API Gateway names neither its account nor its API when it assumes an integration's role.
        conditions: { StringEqualsIfExists: { 'aws:SourceAccount': Stack.of(this).account } },
      }),
    });
    queue.grantSendMessages(role);
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
      // The default is edge-optimized, and sends all requests through CloudFront.
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

  #addMethod(api: IRestApi, props: RestApiIngestProps): void {
    const { queue, authorizer, header = 'Idempotency-Key' } = props;
    const integration = new AwsIntegration({
      service: 'sqs',
      region: queue.queue.env.region,
      path: `${queue.queue.env.account}/${queue.queue.queueName}`,
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
      // SQS would refuse a request without these headers too, but at the price of a request.
      requestParameters: Object.fromEntries(
        [header, groupHeaderOf(props.messageGroupId)]
          .filter((name) => name !== undefined)
          .map((name) => [`method.request.header.${name}`, true]),
      ),
      ...this.#validatorFor(api),
      methodResponses: ingestStatuses.map((statusCode) => ({ statusCode })),
    });
  }

  /** An imported API cannot create a validator by itself. */
  #validatorFor(restApi: IRestApi): Pick<MethodOptions, 'requestValidator' | 'requestValidatorOptions'> {
    const validateRequestParameters = true;
    return restApi instanceof RestApi
      ? { requestValidatorOptions: { validateRequestParameters } }
      : { requestValidator: new RequestValidator(this, 'Validator', { restApi, validateRequestParameters }) };
  }
}

/** The HTTP API's integration with SQS. The CDK's own cannot take the deduplication id from a header. */
class SendMessageIntegration extends HttpRouteIntegration {
  readonly #props: HttpApiIngestProps;
  readonly #role: IRole;

  constructor(id: string, props: HttpApiIngestProps, role: IRole) {
    super(id);
    this.#props = props;
    this.#role = role;
  }

  override bind({ scope }: HttpRouteIntegrationBindOptions) {
    const { queue, header = 'Idempotency-Key', messageGroupId } = this.#props;
    const { region } = queue.queue.env;
    const parameterMapping = new ParameterMapping()
      .custom('QueueUrl', queue.queue.queueUrl)
      .custom('MessageBody', '$request.body')
      .custom('MessageDeduplicationId', `$request.header.${header}`)
      .custom('MessageGroupId', messageGroupId);
    // API Gateway sends to its own Region otherwise.
    if (region !== Stack.of(scope).region) parameterMapping.custom('Region', region);
    return {
      type: HttpIntegrationType.AWS_PROXY,
      subtype: HttpIntegrationSubtype.SQS_SEND_MESSAGE,
      credentials: IntegrationCredentials.fromRole(this.#role),
      connectionType: HttpConnectionType.INTERNET,
      payloadFormatVersion: PayloadFormatVersion.VERSION_1_0,
      parameterMapping,
    };
  }
}

/**
 * Access log lines of JSON. They hold no string that a caller can choose, because a quotation mark in it would break the line.
 * They hold no error message either, because it may repeat credentials.
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
  if (props.via === 'function') {
    const { queueUrlVariable } = props;
    if (queueUrlVariable !== undefined && !/^[A-Za-z]\w+$/.test(queueUrlVariable)) {
      throw new Error(
        `queueUrlVariable is '${queueUrlVariable}': use a letter and at least one of letters, digits and _, e.g. 'REFUNDS_QUEUE_URL'`,
      );
    }
    return;
  }
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

/** The CDK deploys a changed REST API again only if it has deployed it before. */
function warnOfDeployment(scope: Construct, api: IRestApi): void {
  Annotations.of(scope).addWarningV2(
    'idemkit:ingest:deployment',
    `this app does not deploy the REST API '${api.node.path}': the route is served only after the API's next deployment`,
  );
}

/** An HTTP API passes a request without the header on, and a queue that deduplicates by content takes it. A REST API demands it. */
function warnOfContent(scope: Construct, queue: IIdempotentQueue): void {
  if (!queue.contentBasedDeduplication) return;
  Annotations.of(scope).addWarningV2(
    'idemkit:ingest:content-deduplication',
    `contentBasedDeduplication is true on '${queue.node.path}': a request without the header is taken in all the same, deduplicated by its body. Set it to false, or use via: 'rest-api' or 'function'`,
  );
}

/** Matches the variables of API Gateway that name the authenticated caller. */
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
