/** A client that answers or rejects in a later turn of the event loop, as a network does. Only the guard's work is measured. */
import {
  type AttributeValue,
  ConditionalCheckFailedException,
  DynamoDBClient,
} from '@aws-sdk/client-dynamodb';

type Item = Record<string, AttributeValue>;

interface Input {
  readonly Item?: Item;
  readonly Key?: Item;
  readonly UpdateExpression?: string;
  readonly ConditionExpression?: string;
  readonly ExpressionAttributeNames?: Readonly<Record<string, string>>;
  readonly ExpressionAttributeValues?: Item;
  readonly KeyConditionExpression?: string;
}

interface Command {
  readonly input: Input;
}

export interface StubClient {
  readonly client: DynamoDBClient;
  /** Keeps what it is sent, and refuses to put an item twice. Otherwise every write succeeds and leaves nothing. */
  remembers: boolean;
  /** Requests so far. */
  readonly sent: { count: number };
}

export function stubClient(later: () => Promise<void> = nextTurn): StubClient {
  const items = new Map<string, Item>();
  const sent = { count: 0 };
  const stub = {
    client: new DynamoDBClient({ region: 'eu-west-1' }),
    remembers: false,
    sent,
  };
  const send = async ({ input }: Command): Promise<unknown> => {
    sent.count++;
    await later();
    return stub.remembers ? apply(items, input) : {};
  };
  Object.assign(stub.client, { send });
  return stub;
}

const nextTurn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

function apply(items: Map<string, Item>, input: Input): unknown {
  const { ExpressionAttributeNames: names = {}, ExpressionAttributeValues: values = {} } = input;
  if (input.KeyConditionExpression !== undefined) {
    const under = `${values[':pk']?.S}\n${values[':prefix']?.S ?? ''}`;
    return { Items: [...items].flatMap(([key, item]) => (key.startsWith(under) ? [item] : [])) };
  }
  const given = input.Item ?? input.Key ?? {};
  const key = `${(given.pk ?? given.id)?.S}\n${given.sk?.S ?? ''}`;
  const existing = items.get(key);
  if (existing && input.ConditionExpression?.includes('attribute_not_exists')) {
    throw new ConditionalCheckFailedException({ message: 'exists', $metadata: {}, Item: existing });
  }
  if (input.Item) {
    items.set(key, input.Item);
    return {};
  }
  const item = { ...existing, ...input.Key };
  for (const [, name = '', value = ''] of String(input.UpdateExpression).matchAll(/(#\w+) = (:\w+)/g)) {
    item[names[name] ?? ''] = values[value] as AttributeValue;
  }
  items.set(key, item);
  return {};
}
