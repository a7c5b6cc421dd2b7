import { randomUUID } from 'node:crypto';
import { SendMessageCommand } from '@aws-sdk/client-sqs';
import type { ApiOptions, Authorizer } from '../aws/index.ts';
import { type Messaging, present } from './services.ts';

/** Sends for API Gateway, which answers with SQS's own answer. */
export function sendFor(
  messaging: Messaging | undefined,
  authorizer: Authorizer,
): NonNullable<ApiOptions['send']> {
  return async ({ method, path, queue, role }, message) => {
    const session = `${method} ${path}`;
    const accessKeyId = role && authorizer.assume(role, 'apigateway.amazonaws.com', session);
    const { client, urlOf } = present(messaging).queuesFor(accessKeyId);
    try {
      const { MessageId } = await client.send(new SendMessageCommand({ QueueUrl: urlOf(queue), ...message }));
      return answer(
        200,
        `<SendMessageResponse><SendMessageResult><MessageId>${MessageId}</MessageId></SendMessageResult></SendMessageResponse>`,
      );
    } catch (error) {
      const {
        name,
        message: words,
        $metadata,
      } = error as Error & { $metadata?: { httpStatusCode?: number } };
      const code = `<Code>${name}</Code><Message>${words}</Message>`;
      return answer(
        $metadata?.httpStatusCode ?? 500,
        `<ErrorResponse><Error>${code}</Error></ErrorResponse>`,
      );
    }
  };
}

const answer = (statusCode: number, body: string) => ({
  statusCode,
  headers: { 'content-type': 'text/xml', 'x-amzn-requestid': randomUUID() },
  body,
});
