import { Annotations, FeatureFlags, Stack } from 'aws-cdk-lib';
import {
  AccessLogFormat,
  AuthorizationType,
  AwsIntegration,
  EndpointType,
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
import { targetOf } from './guarded-function.ts';
import { checkIngest, warnOfContent, warnOfDeployment, warnOfRawMapping } from './ingest-checks.ts';
import type {
  FifoIngestProps,
  FunctionIngestProps,
  HttpApiIngestProps,
  IngestProps,
  RestApiIngestProps,
} from './ingest-props.ts';
import { groupHeaderOf, ingestResponses, ingestStatuses, sendMessageForm } from './ingest-templates.ts';
import { namespaceOf } from './protection.ts';
import type { IIdempotentQueue } from './queue-base.ts';
import { addVariable } from './variables.ts';

/**
 * A route that puts requests into a FIFO queue. A request that is repeated within five minutes becomes one message.
 * `via` chooses one of three ways, which differ in what they can tell their callers.
 */
export class FifoIngest extends Construct {
  readonly api: IHttpApi | IRestApi;
  readonly #path: string;

  constructor(scope: Construct, id: string, props: FifoIngestProps) {
    super(scope, id);
    checkIngest(props);
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
