/** Where a scenario is played: a guard, a table on DynamoDB Local, a proxy that loses answers, and a clock to move. */
import { DynamoDBClient } from '@aws-sdk/client-dynamodb';
import type { Context } from 'aws-lambda';
import type { FaultProxy } from '../../local/faults/index.ts';
import type { Chain, Contender, Event, Handler, Use } from './contenders.ts';

/** What came of a scenario: how often the handler acted, and what each caller got, in the order of their calls. */
export interface Counted {
  readonly effects: number;
  readonly callers: readonly string[];
}

const invocationMs = 2_000;
const handlersOwn = 'the handler fails';

export class Stage {
  readonly #contender: Contender;
  readonly #proxy: FaultProxy;
  readonly #client: DynamoDBClient;
  readonly #callers: string[] = [];
  #effects = 0;

  constructor(contender: Contender, proxy: FaultProxy) {
    this.#contender = contender;
    this.#proxy = proxy;
    this.#client = new DynamoDBClient({
      endpoint: proxy.endpoint,
      region: 'eu-west-1',
      credentials: { accessKeyId: 'local', secretAccessKey: 'local' },
    });
  }

  /** The handler's side effect, which cannot be taken back. Returns how many there have been. */
  act(): number {
    this.#effects++;
    return this.#effects;
  }

  failing(): Error {
    return new Error(handlersOwn);
  }

  /** One call, which comes to a fresh sandbox. Resolves once its caller has an answer, whichever it is. */
  async call(handler: Handler, event: Event, use: Use, chain?: Chain): Promise<void> {
    const place = this.#callers.push('no answer') - 1;
    this.#callers[place] = await this.#answer(handler, event, use, chain);
  }

  /** From now on, after `skip` requests to DynamoDB, `times` of them are lost, or their answers. */
  lose(what: 'requests' | 'answers', skip: number, times: number): void {
    this.#proxy.inject({ fault: what === 'requests' ? 'drop-before' : 'drop-after', skip, times });
  }

  mendNetwork(): void {
    this.#proxy.reset();
  }

  /** So much later that every lease is over. */
  afterTheLease(): void {
    moveClock(60_000);
  }

  end(): Counted {
    this.#client.destroy();
    return { effects: this.#effects, callers: this.#callers };
  }

  async #answer(handler: Handler, event: Event, use: Use, chain: Chain | undefined): Promise<string> {
    const deadlineMs = Date.now() + invocationMs;
    const context = {
      functionName: 'effects',
      awsRequestId: 'request-1',
      getRemainingTimeInMillis: () => deadlineMs - Date.now(),
    } as Context;
    try {
      const guarded = this.#contender.guard(this.#client, handler, use, chain);
      // Each delivery has an event of its own: what one handler changes in it, the next one does not see.
      return wordFor(await guarded(structuredClone(event), context));
    } catch (error) {
      if ((error as Error).message === handlersOwn) return "handler's error";
      const word = this.#contender.wordFor(error);
      if (word === undefined) throw error;
      return word;
    }
  }
}

/** A handler answers with its receipt, by itself or in the body of an HTTP answer. */
function wordFor(answer: unknown): string {
  if (answer === undefined) return 'nothing';
  const { statusCode, body, receipt } = answer as { statusCode?: number; body?: string; receipt?: number };
  if (statusCode === 409) return 'busy';
  if (statusCode === 422) return 'refused';
  const given = statusCode === 201 ? JSON.parse(body ?? '{}').receipt : receipt;
  return given === undefined ? `HTTP ${statusCode}` : `answer ${given}`;
}

const realNow = Date.now;
let aheadMs = 0;

function moveClock(ms: number): void {
  aheadMs += ms;
  Date.now = () => realNow() + aheadMs;
}

export function resetClock(): void {
  aheadMs = 0;
  Date.now = realNow;
}
