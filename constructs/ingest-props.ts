import type { IAuthorizer, IRestApi } from 'aws-cdk-lib/aws-apigateway';
import type { HttpMethod, IHttpApi, IHttpRouteAuthorizer } from 'aws-cdk-lib/aws-apigatewayv2';
import type { RetentionDays } from 'aws-cdk-lib/aws-logs';
import type { GuardedFunction } from './guarded-function.ts';
import type { IIdempotentQueue } from './queue-base.ts';

/** What all three ways have in common. */
export interface IngestProps {
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

/** What the two ways without a function have in common. */
export interface MappedIngestProps extends IngestProps {
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
