/** Plain JavaScript values on their way to DynamoDB and back, as the client's owner wants them converted. */
import type { Attributes } from '../errors.ts';
import { loadUtilDynamoDb } from '../peers.ts';
import {
  type AttributeValue,
  type FromStoredOptions,
  fromStored,
  type ToStoredOptions,
  toStored,
} from '../store/index.ts';

type Stored = Record<string, AttributeValue>;

export interface Converter {
  /** @throws `UnstorableValue` for a value that DynamoDB cannot hold */
  toStored(values: object): Stored;
  fromStored<Item extends object = Attributes>(stored: Stored): Item;
}

interface Translation {
  readonly marshallOptions?: ToStoredOptions;
  readonly unmarshallOptions?: FromStoredOptions;
}

/** Native commands run on both kinds of clients; so values are converted here and not by a document client. */
export async function converter(client: object): Promise<Converter> {
  const { marshallOptions, unmarshallOptions } =
    (client as { config?: { translateConfig?: Translation } }).config?.translateConfig ?? {};
  const reading = await withNumberClass(unmarshallOptions);
  return {
    toStored: (values) => toStored(values, marshallOptions),
    fromStored: <Item extends object>(stored: Stored) => fromStored(stored, reading) as Item,
  };
}

/** A document client that is to wrap numbers has brought the package with their class, and recognises no other. */
async function withNumberClass(options: FromStoredOptions = {}): Promise<FromStoredOptions> {
  if (options.wrapNumbers !== true) return options;
  const { unmarshall } = await loadUtilDynamoDb();
  return { wrapNumbers: (N) => unmarshall({ number: { N } }, { wrapNumbers: true }).number };
}
