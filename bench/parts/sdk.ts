/** A call through the real SDK: it serialises, signs and parses, and a stub takes the place of the socket. */
import { DynamoDBClient } from '@aws-sdk/client-dynamodb';
import { contenders, type HttpGuarding } from '../contenders.ts';
import { httpRequests } from '../events.ts';
import {
  type ContenderName,
  compare,
  contenderNames,
  cpuMicrosecondsPer,
  inTurn,
  type Part,
} from '../runner.ts';

interface WireRequest {
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string | Uint8Array;
}

type WireItem = Record<string, unknown>;

interface WireInput {
  readonly Item?: WireItem;
  readonly Key?: WireItem;
  readonly UpdateExpression?: string;
  readonly ExpressionAttributeNames?: Readonly<Record<string, string>>;
  readonly ExpressionAttributeValues?: WireItem;
}

/** Answers `{}`, or refuses every put because of the item that the contender itself has written. */
class Socket {
  #item: Record<string, unknown> | undefined;
  refuses = false;

  async handle({ body, headers }: WireRequest): Promise<unknown> {
    await new Promise((resolve) => setImmediate(resolve));
    if (this.refuses) {
      const type = 'com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException';
      return answer(400, JSON.stringify({ __type: type, message: 'exists', Item: this.#item }));
    }
    if (this.#item === undefined || !isComplete(this.#item))
      this.#learn(JSON.parse(typeof body === 'string' ? body : new TextDecoder().decode(body)), headers);
    return answer(200, '{}');
  }

  #learn(input: WireInput, headers: WireRequest['headers']): void {
    const { Item, Key, UpdateExpression, ExpressionAttributeNames, ExpressionAttributeValues } = input;
    if (Item) this.#item = Item;
    else if (UpdateExpression !== undefined && headers['x-amz-target']?.endsWith('UpdateItem')) {
      const item: Record<string, unknown> = { ...this.#item, ...Key };
      for (const [, name = '', value = ''] of String(UpdateExpression).matchAll(/(#\w+) = (:\w+)/g)) {
        item[ExpressionAttributeNames?.[name] ?? ''] = ExpressionAttributeValues?.[value];
      }
      this.#item = item;
    }
  }
}

const isComplete = (item: Record<string, unknown>): boolean =>
  JSON.stringify(item.status).includes('COMPLETED');

const answer = (statusCode: number, text: string) => ({
  response: {
    statusCode,
    headers: { 'content-type': 'application/x-amz-json-1.0' },
    body: Buffer.from(text),
  },
});

const cases: readonly (Pick<HttpGuarding, 'door' | 'cache'> & {
  readonly what: string;
  readonly isRepeat: boolean;
})[] = [
  { what: 'wrapper, fresh', isRepeat: false },
  { what: 'wrapper, duplicate', isRepeat: true },
  { what: 'wrapper, cached duplicate', isRepeat: true, cache: true },
  { what: 'Middy, fresh', isRepeat: false, door: 'middy' },
  { what: 'Middy, duplicate', isRepeat: true, door: 'middy' },
];

export const sdk: Part = {
  name: 'sdk',
  title: 'CPU of a call through the SDK, its socket stubbed',
  async run(bench) {
    const [warmUp, rounds, calls] = bench.quick ? [3, 7, 50] : [6, 30, 150];
    const requestOf = httpRequests();
    const rows = [];
    for (const { what, isRepeat, ...options } of cases) {
      const guarded = {} as Record<ContenderName, (index: number) => Promise<unknown>>;
      for (const name of contenderNames) {
        const socket = new Socket();
        const client = new DynamoDBClient({
          region: 'eu-west-1',
          credentials: { accessKeyId: 'local', secretAccessKey: 'local' },
          requestHandler: socket as never,
        });
        const handler = contenders[name].http({ client, ...options });
        await handler(requestOf('key'));
        socket.refuses = isRepeat;
        let fresh = 0;
        guarded[name] = () => handler(requestOf(isRepeat ? 'key' : `key-${fresh++}`));
      }
      const samples = await inTurn(warmUp + rounds, async (name, round) => {
        bench.progress(`${what}, round ${round + 1} of ${warmUp + rounds}`);
        return cpuMicrosecondsPer(calls, guarded[name]);
      });
      const [idemkit, peer] = [samples.idemkit.slice(warmUp), samples.peer.slice(warmUp)];
      rows.push(compare(what, 'µs', { idemkit, peer }));
    }
    return { rows };
  },
};
