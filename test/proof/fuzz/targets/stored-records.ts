import { Buffer } from 'node:buffer';
import { dynamoStore, idempotent } from '../../../../lib/index.ts';
import { attribute } from '../../../../lib/record.ts';
import { lambdaContext } from '../../../support/invocation.ts';
import type { Draw } from '../draw.ts';
import { mutatedValue } from '../mutate.ts';
import { foreign, type Input, readLater, type Target } from '../target.ts';
import { secret } from './valid-events.ts';

interface Lying {
  /** The item that the claim meets; bytes in Base64. */
  readonly item: Input;
  /** What a query for the parts of its answer finds. */
  readonly chunks: Input;
}

type Client = NonNullable<NonNullable<Parameters<typeof dynamoStore>[0]>['client']>;

const context = lambdaContext();
/** More than any call has to send. */
const maxRequests = 30;

/** Whatever lies under a key, a call ends with an answer or with an error of ours, soon, and runs its handler once at most. */
export const storedRecordsTarget = (guardIt: typeof idempotent = idempotent): Target => ({
  name: 'stored records',
  make: drawItem,
  async complaint({ item = {}, chunks = [] }: Partial<Lying>) {
    let runs = 0;
    let requests = 0;
    const client = {
      async send(command: object) {
        if (++requests > maxRequests) throw new TypeError('A call sends too much.');
        const name = command.constructor.name;
        if (name === 'PutItemCommand') {
          throw Object.assign(new Error('The conditional request failed'), {
            name: 'ConditionalCheckFailedException',
            Item: itemOf(item),
            $metadata: {},
          });
        }
        return name === 'QueryCommand'
          ? { Items: itemsOf(chunks) }
          : name === 'GetItemCommand'
            ? { Item: itemOf(item) }
            : {};
      },
    };
    const guarded = guardIt(
      async () => {
        runs++;
        return 'answer';
      },
      {
        key: () => 'key',
        fingerprint: false,
        namespace: 'fuzz',
        store: dynamoStore({ tableName: 'table', client: client as unknown as Client }),
      },
    );
    const found = await readLater(() => guarded({}, context));
    if (found.kind === 'threw') return foreign(found.error);
    if (found.kind === 'refused' && found.message.includes(secret))
      return `it shows what is stored: ${found.message}`;
    return runs > 1 ? 'its handler runs twice' : undefined;
  },
});

const bytes = (text: string): Input => ({ B: Buffer.from(text, 'latin1').toString('base64') });
const number = (value: number): Input => ({ N: String(value) });

const claim: Readonly<Record<string, Input>> = {
  pk: { S: 'fuzz#1' },
  sk: { S: 'claim' },
  [attribute.owner]: { S: 'owner-1' },
  [attribute.window]: { S: 'window-1' },
  [attribute.attempt]: number(1),
  [attribute.leaseUntil]: number(0),
  [attribute.createdAt]: number(1_700_000_000_000),
  [attribute.endsAt]: number(9_000_000_000_000),
  [attribute.fingerprint]: { S: 'print' },
};
const completed = {
  ...claim,
  [attribute.status]: { S: 'COMPLETED' },
  [attribute.completedAt]: number(1_700_000_000_000),
};
const answer = `\u0000"${secret}"`;

const validItems: readonly Input[] = [
  { ...claim, [attribute.status]: { S: 'IN_PROGRESS' } },
  { ...claim, [attribute.status]: { S: 'IN_PROGRESS' }, [attribute.leaseUntil]: number(9_000_000_000_000) },
  { ...claim, [attribute.status]: { S: 'RELEASED' }, [attribute.endsAt]: number(1) },
  { ...completed, [attribute.data]: bytes(answer) },
  { ...completed, [attribute.data]: bytes(`\u0004[[1],{"a":[2]},["Map","${secret}",1]]`) },
  { ...completed, [attribute.writeId]: { S: 'write-1' }, [attribute.chunks]: number(2) },
  {
    ...completed,
    [attribute.unavailable]: { S: 'too-large' },
    [attribute.unavailableDetail]: { S: 'bytes' },
  },
];

const validChunks: Input = [0, 1].map((index) => ({
  pk: { S: 'fuzz#1' },
  sk: { S: `window-1#chunk#write-1#${index}` },
  [attribute.data]: bytes(index === 0 ? answer.slice(0, 3) : answer.slice(3)),
}));

function drawItem(draw: Draw): Input {
  const item = draw.pick(validItems);
  return {
    item: draw.isTrue(0.1) ? item : mutatedValue(draw, item),
    chunks: draw.isTrue(0.5) ? validChunks : mutatedValue(draw, validChunks),
  };
}

/** An item as DynamoDB may send it: any attributes, but each of a type that there is. What is none is left out. */
function itemOf(value: Input): Item {
  const item: Item = {};
  if (!isObject(value)) return item;
  for (const [name, attributeValue] of Object.entries(value)) {
    const [[type, held] = []] = isObject(attributeValue) ? Object.entries(attributeValue) : [];
    if ((type === 'S' || type === 'N') && typeof held === 'string') item[name] = { [type]: held };
    if (type === 'B' && typeof held === 'string')
      item[name] = { B: new Uint8Array(Buffer.from(held, 'base64')) };
    if (type === 'BOOL' || type === 'NULL') item[name] = { [type]: true };
  }
  return item;
}

type Item = Record<string, Readonly<Record<string, unknown>>>;

const isObject = (value: unknown): value is Readonly<Record<string, Input>> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

const itemsOf = (value: Input): Item[] => (Array.isArray(value) ? value.map(itemOf) : []);
