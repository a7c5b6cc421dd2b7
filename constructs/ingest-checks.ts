/** What is refused or warned of in the properties of a `FifoIngest`. */
import { Annotations, Token } from 'aws-cdk-lib';
import type { IRestApi } from 'aws-cdk-lib/aws-apigateway';
import type { Construct } from 'constructs';
import type { FifoIngestProps, MappedIngestProps } from './ingest-props.ts';
import type { IIdempotentQueue } from './queue-base.ts';

/** @throws Error for properties that contradict each other or that API Gateway would refuse */
export function checkIngest(props: FifoIngestProps): void {
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
export function warnOfDeployment(scope: Construct, api: IRestApi): void {
  Annotations.of(scope).addWarningV2(
    'idemkit:ingest:deployment',
    `this app does not deploy the REST API '${api.node.path}': the route is served only after the API's next deployment`,
  );
}

/** Without the header, an HTTP API still sends, and a queue that deduplicates by content takes it. A REST API refuses. */
export function warnOfContent(scope: Construct, queue: IIdempotentQueue): void {
  if (!queue.contentBasedDeduplication) return;
  Annotations.of(scope).addWarningV2(
    'idemkit:ingest:content-deduplication',
    `contentBasedDeduplication is true on '${queue.node.path}': a request without the header is taken in all the same, deduplicated by its body. Set it to false, or use via: 'rest-api' or 'function'`,
  );
}

/** Matches the variables of API Gateway that name the authenticated caller. */
const callerPattern = /^\$context\.(?:authorizer\.|identity\.(?:userArn|caller|cognitoIdentityId|apiKeyId)$)/;

export function warnOfRawMapping(scope: Construct, { queue, messageGroupId }: MappedIngestProps): void {
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
