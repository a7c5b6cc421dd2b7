/** The model as the SDK's client: what a store is given. */
import type { DynamoClient } from '../../../lib/dynamo/client.ts';
import { sdkError } from '../../../lib/testing/dynamodb/errors.ts';
import type { DynamoModel } from './model.ts';

/** A client whose every request is applied at once when it is sent; it answers in the next turn. */
export function modelClient(model: DynamoModel): DynamoClient {
  return {
    async send(command: object) {
      const { name, input } = requestOf(command);
      const { ok, error } = model.apply(name, input);
      if (error) throw sdkError(error);
      return { $metadata: { httpStatusCode: 200, attempts: 1, totalRetryDelay: 0 }, ...ok };
    },
  };
}

/** A command's name without `Command`, and its input. */
export function requestOf(command: object): { readonly name: string; readonly input: object } {
  const { input } = command as { input?: object };
  return { name: command.constructor.name.replace(/Command$/, ''), input: input ?? {} };
}
