/** Plain JavaScript values on their way to DynamoDB and back, as the client's owner wants them converted. */
import type { AttributeValue } from '@aws-sdk/client-dynamodb';
import { loadUtilDynamoDb } from './peers.ts';

type Stored = Record<string, AttributeValue>;

export interface Converter {
  /** @throws what `marshall` throws for a value that DynamoDB cannot hold */
  toStored(values: Record<string, any>): Stored;
  fromStored(stored: Stored): any;
}

interface Translation {
  readonly marshallOptions?: object;
  readonly unmarshallOptions?: object;
}

/**
 * Native commands run on both kinds of clients; so values are converted here and not by a document client.
 *
 * @throws `UNSUPPORTED` without `@aws-sdk/util-dynamodb`
 */
export async function converter(client: object): Promise<Converter> {
  const { marshall, unmarshall } = await loadUtilDynamoDb();
  const { marshallOptions, unmarshallOptions } =
    (client as { config?: { translateConfig?: Translation } }).config?.translateConfig ?? {};
  // A document client sets the last ones, for attributes; here it is whole items.
  const options = {
    removeUndefinedValues: true,
    ...marshallOptions,
    convertTopLevelContainer: false,
  } as const;
  return {
    toStored: (values) => marshall(values, options) as Stored,
    fromStored: (stored) => unmarshall(stored, { ...unmarshallOptions, convertWithoutMapWrapper: false }),
  };
}
