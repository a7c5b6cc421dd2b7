/** The way from a process to the database and back, with an SDK in between that repeats what was not answered. */
import type { DynamoClient } from '../../../lib/dynamo/client.ts';
import type { Chance } from '../../../lib/simulate/time/chance.ts';
import type { VirtualTime } from '../../../lib/simulate/time/virtual-time.ts';
import { type Applied, sdkError } from '../dynamodb-model/index.ts';
import { type Database, recordsTable, type Sender } from './database.ts';
import type { Faults } from './faults.ts';
import { type Call, copiesApplied, type History } from './history.ts';
import { invocation, type Sandbox } from './sandbox.ts';

/** How often the SDK sends a request at most, and how long it waits for each answer. */
const maxSendings = 3;
const requestTimeoutMs = 2_000;

const kinds = [
  'lost request',
  'lost answer',
  'late',
  'sent twice',
  'slow',
  'throttled',
  'failed before',
  'failed after',
  'conflict',
  'in two phases',
  'crash before',
  'crash after',
  'crash when answered',
  'frozen',
] as const;

type Kind = (typeof kinds)[number];

export interface Parts {
  readonly time: VirtualTime;
  readonly chance: Chance;
  readonly faults: Faults;
  readonly database: Database;
  readonly history: History;
  readonly log: (who: string, what: string) => void;
}

/** What a world's processes send their requests with. */
export interface Wire {
  /** A client for one process. @param tableName what that process calls the records' table */
  client(sandbox: Sandbox, tableName: string): DynamoClient;
}

interface Request {
  readonly place: string;
  readonly commandName: string;
  readonly input: object;
  readonly call: Call | undefined;
  readonly sandbox: Sandbox;
  readonly resolve: (output: unknown) => void;
  readonly reject: (error: unknown) => void;
}

export class Network implements Wire {
  readonly #parts: Parts;

  constructor(parts: Parts) {
    this.#parts = parts;
  }

  client(sandbox: Sandbox, tableName: string): DynamoClient {
    return {
      send: (command: { readonly constructor: { readonly name: string }; readonly input: object }) =>
        new Promise((resolve, reject) => {
          const call = invocation.getStore()?.call;
          if (sandbox.isDead) return;
          const number = call ? ++call.requests : 0;
          this.#send(
            {
              place: `${call?.id ?? sandbox.name} request ${number}`,
              commandName: command.constructor.name.replace(/Command$/, ''),
              input: onTheWire(command.input, tableName),
              ...{ call, sandbox, resolve, reject },
            },
            1,
          );
        }),
    };
  }

  #send(request: Request, sending: number): void {
    const { time, chance, faults, log } = this.#parts;
    const { sandbox, commandName, place } = request;
    const here = `${place} sending ${sending}`;
    const kind = faults.at(here, this.#kindsFor(request));
    const travelMs = () => chance.between(`latency ${here}`, 1, kind === 'slow' ? 1_200 : 15);
    log(sandbox.name, `${here}: ${summary(request)}${kind ? ` [${kind}]` : ''}`);

    let isOver = false;
    const answer = (deliver: () => void) => {
      sandbox.after(travelMs(), () => {
        if (isOver) return;
        isOver = true;
        stopWaiting();
        if (kind === 'crash when answered') this.#crash(sandbox, here);
        else deliver();
      });
    };
    const sender: Sender = { call: request.call, sentAtClockMs: sandbox.clock.now(), commandName };
    const sentAtMs = time.nowMs;
    const take = (applied: Applied, isAnswered: boolean) => {
      const result = resultOf(applied);
      log('db', `${here}: ${result}`);
      this.#count(request, result, time.nowMs - sentAtMs);
      if (!isAnswered) return;
      answer(() => {
        if (applied.error) request.reject(sdkError(applied.error, sending));
        else request.resolve({ ...applied.ok, $metadata: { attempts: sending } });
      });
    };
    const arrive = (isAnswered: boolean) =>
      take(this.#parts.database.apply(request.input, sender), isAnswered);
    const repeatAfter = (error: Error) => {
      if (sending === maxSendings) {
        request.reject(Object.assign(error, { $metadata: { attempts: sending } }));
        return;
      }
      const pauseMs = chance.between(`backoff ${here}`, 0, 50 * 2 ** sending);
      sandbox.after(pauseMs, () => this.#send(request, sending + 1));
    };
    const fail = (name: string, more: object = {}) =>
      answer(() => repeatAfter(named(name, `${name} (simulated)`, more)));
    const refuse = (error: Error) =>
      answer(() => request.reject(Object.assign(error, { $metadata: { attempts: sending } })));

    const stopWaiting = sandbox.after(requestTimeoutMs, () => {
      if (isOver) return;
      isOver = true;
      log(sandbox.name, `${here}: no answer`);
      repeatAfter(named('TimeoutError', 'No answer in time (simulated)'));
    });
    const soon = (happen: () => void) => void time.after(travelMs(), happen);
    switch (kind) {
      case undefined:
      case 'slow':
      case 'crash when answered':
        soon(() => arrive(true));
        break;
      case 'lost request':
        break;
      case 'lost answer':
        soon(() => arrive(false));
        break;
      case 'late': {
        const longMs = chance.pick(`late ${here}`, [2_500, 6_000, 20_000, 70_000, 300_000]);
        time.after(longMs, () => arrive(false));
        break;
      }
      case 'sent twice': {
        const laterMs = chance.pick(`twice ${here}`, [1, 30, 1_000, 15_000, 120_000]);
        time.after(laterMs, () => {
          const applied = this.#parts.database.apply(request.input, sender);
          if (!applied.error && request.call) this.#parts.history.facts(copiesApplied).push(request.call.id);
          take(applied, false);
        });
        soon(() => arrive(true));
        break;
      }
      case 'throttled':
        soon(() => fail('ProvisionedThroughputExceededException'));
        break;
      case 'failed before':
        soon(() => fail('InternalServerError'));
        break;
      case 'failed after':
        soon(() => {
          arrive(false);
          fail('InternalServerError');
        });
        break;
      case 'conflict':
        soon(() => refuse(conflictOf(request)));
        break;
      case 'in two phases':
        soon(() => this.#inTwoPhases(request, here, sender, (applied) => take(applied, true)));
        break;
      case 'crash before':
        this.#crash(sandbox, here);
        break;
      case 'crash after':
        this.#crash(sandbox, here);
        soon(() => arrive(false));
        break;
      case 'frozen': {
        const forMs = chance.pick(`frozen ${here}`, [1_500, 5_000, 40_000, 130_000]);
        sandbox.freeze(forMs);
        log(sandbox.name, `is frozen for ${forMs} ms`);
        soon(() => arrive(true));
        break;
      }
    }
  }

  /** A transaction that holds its items for a while: others meet conflicts, its repeats that it is in progress. */
  #inTwoPhases(request: Request, here: string, sender: Sender, take: (applied: Applied) => void): void {
    const { time, chance, database, log } = this.#parts;
    const prepared = database.prepare(request.input, sender);
    if (!('finish' in prepared)) {
      take(prepared);
      return;
    }
    log('db', `${here}: prepared`);
    const longMs = chance.pick(`phases ${here}`, [5, 300, 2_500, 7_000]);
    const isAbandoned = chance.isTrue(`phases ${here}`, 0.25);
    time.after(longMs, () => take(isAbandoned ? prepared.abandon() : prepared.finish()));
  }

  #kindsFor({ commandName, sandbox }: Request): readonly Kind[] {
    const isRead = commandName === 'GetItem' || commandName === 'Query';
    return kinds.filter((kind) => {
      if (kind === 'in two phases') return commandName === 'TransactWriteItems';
      if (kind === 'conflict') return !isRead;
      return !(kind.startsWith('crash') && sandbox.name.startsWith('probe'));
    });
  }

  #count({ commandName, sandbox }: Request, result: string, afterMs: number): void {
    const { history } = this.#parts;
    if (result === 'applied' && commandName !== 'GetItem' && commandName !== 'Query') {
      if (afterMs > requestTimeoutMs) history.reach('a write is applied after its sender gave up');
      if (sandbox.isDead) history.reach('a write of a dead process is applied');
    }
    for (const name of result.match(/\b[A-Z]\w+/g) ?? []) {
      if (name !== 'None') history.reach(`DynamoDB says ${name}`);
    }
  }

  #crash(sandbox: Sandbox, where: string): void {
    sandbox.isDead = true;
    this.#parts.log(sandbox.name, `crashes at ${where}`);
  }
}

/** What became of a request, in a word. */
export function resultOf({ error }: Applied): string {
  if (!error) return 'applied';
  const why = error.CancellationReasons?.map(({ Code }) => Code).join(', ');
  return `${error.name}${why ? ` (${why})` : ''}`;
}

const named = (name: string, message: string, more: object = {}): Error =>
  Object.assign(new Error(message), { name, ...more });

function conflictOf({ input }: Request): Error {
  const { TransactItems } = input as { TransactItems?: unknown[] };
  if (!TransactItems) return named('TransactionConflictException', 'Conflict (simulated)');
  const CancellationReasons = TransactItems.map((_, index) => ({
    Code: index === 0 ? 'TransactionConflict' : 'None',
  }));
  return named('TransactionCanceledException', 'Conflict (simulated)', { CancellationReasons });
}

/** A copy, as a request makes one, with the table called as the database does. */
export function onTheWire(input: object, tableName: string): object {
  const copy = structuredClone(input) as Record<string, unknown> & {
    TransactItems?: Record<string, { TableName?: string }>[];
  };
  if (copy.TableName === tableName) copy.TableName = recordsTable;
  for (const item of copy.TransactItems ?? []) {
    for (const action of Object.values(item)) {
      if (action.TableName === tableName) action.TableName = recordsTable;
    }
  }
  return copy;
}

/** What a request is about, in a word. */
export function summary({ commandName, input }: Pick<Request, 'commandName' | 'input'>): string {
  const { Key, Item, TransactItems, ConditionExpression } = input as {
    Key?: { sk?: { S?: string } };
    Item?: { sk?: { S?: string }; status?: { S?: string } };
    TransactItems?: object[];
    ConditionExpression?: string;
  };
  const sk = Key?.sk?.S ?? Item?.sk?.S ?? '';
  const what = TransactItems ? `${TransactItems.length} items` : sk.replace(/^[^#]+#/, '');
  const status = Item?.status?.S ?? '';
  return [commandName, what, status, ConditionExpression ? '(if)' : '']
    .filter((word) => word !== '')
    .join(' ');
}
