import { Buffer } from 'node:buffer';
import type { DynamoDBBatchResponse, DynamoDBRecord, DynamoDBStreamEvent } from 'aws-lambda';
import { IdempotencyError, show } from '../errors.ts';
import { itemFailures, lowestOf } from '../events/index.ts';
import { keyAttribute } from '../message-key.ts';
import { loadEventBridge, loadSns, loadSqs } from '../peers.ts';
import { inParallel } from '../pool.ts';
import { attribute, outboxMark, tableLayout } from '../record.ts';
import type { Seal } from '../store/index.ts';
import { check, checkKnown, isFunction, isRecord } from '../validate.ts';
import type { MessageClient } from './send-once.ts';

/** Where messages of one name go. */
export type Destination =
  /** An SQS FIFO queue. */
  | { readonly queueUrl: string }
  /** An SNS FIFO topic. */
  | { readonly topicArn: string }
  /**
   * An EventBridge bus. It drops no repeats, so guard the consumer with `key: (event) => event.resources[0]`: the event's first
   * resource is the deduplication id. Bodies must be JSON.
   */
  | { readonly eventBusName: string; readonly source: string; readonly detailType: string };

export interface RelayOptions {
  /** Where messages go, by the `destination` that they are staged with. */
  readonly destinations: Readonly<Record<string, Destination>>;
  /**
   * What to do with a message for another destination. `'fail'` reports it, so that a typing error loses none.
   * `'skip'` leaves it to the pipes or relays that publish the rest.
   *
   * @default 'fail'
   */
  readonly otherDestinations?: 'fail' | 'skip';
  /** Opens sealed messages. Give it the store's own `seal`. */
  readonly seal?: Seal;
  /**
   * Clients to publish with.
   *
   * @default new clients, made when they are first needed
   */
  readonly clients?: {
    readonly sqs?: MessageClient;
    readonly sns?: MessageClient;
    readonly eventBridge?: MessageClient;
  };
  /** Name of the table's partition key. @default 'pk' */
  readonly partitionKey?: string;
  /** Name of the table's sort key. @default 'sk' */
  readonly sortKey?: string;
}

/**
 * Makes a handler for the table's stream (new images) that publishes what `commit()` and `transaction()` staged.
 *
 * Each message carries the id that was staged with it. After a crash it may be published again: within five minutes the FIFO
 * queue drops the repeat, later the consumer's guard does. The id is also the message attribute `idempotencyKey`, which
 * `messageKey` reads.
 *
 * Messages of one group go out one after the other. Within one batch, those of one transaction keep the order in which they
 * were staged. Messages of different transactions may overtake each other, because a stream orders only the changes of one item.
 * A message that could not be published comes again with all that follow it, so switch `ReportBatchItemFailures` on.
 *
 * @example
 * export const handler = relayOutbox({ destinations: { ledger: { queueUrl: process.env.LEDGER_QUEUE_URL! } } });
 *
 * @throws `BAD_OPTION` at once. A call rejects with `STORE_MISCONFIGURED` for keys of other names and for a stream without new
 * images, because it could not find the messages. It rejects with `UNSUPPORTED` if a destination's package is not installed
 * (`@aws-sdk/client-sqs`, `-sns`, `-eventbridge`).
 */
export function relayOutbox(
  options: RelayOptions,
): (event: DynamoDBStreamEvent) => Promise<DynamoDBBatchResponse> {
  checkOptions(options);
  const { destinations, otherDestinations = 'fail' } = options;
  const publish = publisher(options);
  const loaded = loadClients(destinations);

  return async ({ Records }) => {
    await loaded;
    const failed: string[] = [];
    const lanes = new Map<string, Outgoing[]>();
    for (const message of inOrder(Records, options)) {
      if (!Object.hasOwn(destinations, message.destination)) {
        if (otherDestinations === 'skip') continue;
        failed.push(message.sequenceNumber);
        tell(message, 'a destination', unknownDestination(message, destinations));
        continue;
      }
      const lane = JSON.stringify([message.destination, message.groupId]);
      addTo(lanes, lane, message);
    }
    await inParallel([...lanes.values()], maxParallel, async (lane) => {
      for (const [index, message] of lane.entries()) {
        try {
          await publish(message, destinations[message.destination] as Destination);
        } catch (error) {
          tell(message, `'${message.destination}'`, error);
          // The rest of the group must not overtake it.
          failed.push(...lane.slice(index).map(({ sequenceNumber }) => sequenceNumber));
          return;
        }
      }
    });
    return { batchItemFailures: itemFailures(lowestOf(failed)) };
  };
}

const maxParallel = 10;

/** Loads what the destinations need. A missing package thus fails the first call before anything is sent. */
function loadClients(destinations: RelayOptions['destinations']): Promise<unknown> {
  const loaded = Promise.all(
    Object.values(destinations).map((destination): Promise<unknown> => {
      if ('queueUrl' in destination) return loadSqs();
      return 'topicArn' in destination ? loadSns() : loadEventBridge();
    }),
  );
  // Every call rejects with the error, but before the first call nobody would handle it.
  loaded.catch(() => {});
  return loaded;
}

function addTo<T>(lists: Map<string, T[]>, name: string, item: T): void {
  const list = lists.get(name);
  if (list) list.push(item);
  else lists.set(name, [item]);
}

interface Outgoing {
  readonly pk: string;
  /** Window, `outbox`, name and position. */
  readonly place: string;
  readonly sequenceNumber: string;
  readonly destination: string;
  readonly body: string | Uint8Array;
  readonly groupId: string;
  readonly deduplicationId: string;
}

/**
 * The staged messages. Transactions are in the order of the stream. The items of one transaction come in any order, so they
 * are sorted into the order in which they were staged.
 */
function inOrder(records: readonly DynamoDBRecord[], options: RelayOptions): Outgoing[] {
  const transactions = new Map<string, Outgoing[]>();
  for (const record of records) {
    const message = read(record, options);
    if (message === undefined) continue;
    const transaction = `${message.pk}#${message.place.slice(0, message.place.lastIndexOf('#'))}`;
    addTo(transactions, transaction, message);
  }
  return [...transactions.values()].flatMap((messages) =>
    messages.sort((one, other) => (one.place < other.place ? -1 : 1)),
  );
}

/** `undefined` for removals, and for items that are no messages. */
function read({ eventName, dynamodb = {} }: DynamoDBRecord, options: RelayOptions): Outgoing | undefined {
  const { partitionKey = tableLayout.partitionKey, sortKey = tableLayout.sortKey } = options;
  const { Keys: keys, NewImage: image, SequenceNumber: sequenceNumber = '' } = dynamodb;
  if (eventName !== 'INSERT') return undefined;
  const pk = keys?.[partitionKey]?.S;
  const place = keys?.[sortKey]?.S;
  // If it passed over such items in silence, it would lose every message.
  if (pk === undefined || place === undefined) throw otherKeys(keys, partitionKey, sortKey);
  if (!outboxMark.test(place)) return undefined;
  if (image === undefined) throw noImages();
  const body = image[attribute.body];
  return {
    ...{ pk, place, sequenceNumber },
    destination: image[attribute.destination]?.S ?? '',
    body: body?.B === undefined ? (body?.S ?? '') : Buffer.from(body.B, 'base64'),
    groupId: image[attribute.groupId]?.S ?? '',
    deduplicationId: image[attribute.deduplicationId]?.S ?? '',
  };
}

type Publish = (message: Outgoing, destination: Destination) => Promise<void>;

function publisher({ clients = {}, seal }: RelayOptions): Publish {
  let { sqs, sns, eventBridge } = clients;
  return async (message, destination) => {
    const { groupId, deduplicationId } = message;
    const body = await textOf(message, seal);
    if ('queueUrl' in destination) {
      const { SendMessageCommand, SQSClient } = await loadSqs();
      sqs ??= new SQSClient({});
      await sqs.send(
        new SendMessageCommand({
          QueueUrl: destination.queueUrl,
          MessageBody: body,
          MessageGroupId: groupId,
          MessageDeduplicationId: deduplicationId,
          MessageAttributes: keyAttribute(deduplicationId),
        }),
      );
    } else if ('topicArn' in destination) {
      const { PublishCommand, SNSClient } = await loadSns();
      sns ??= new SNSClient({});
      await sns.send(
        new PublishCommand({
          TopicArn: destination.topicArn,
          Message: body,
          MessageGroupId: groupId,
          MessageDeduplicationId: deduplicationId,
          MessageAttributes: keyAttribute(deduplicationId),
        }),
      );
    } else {
      const { EventBridgeClient, PutEventsCommand } = await loadEventBridge();
      eventBridge ??= new EventBridgeClient({});
      const { eventBusName, source, detailType } = destination;
      const entry = {
        ...{ EventBusName: eventBusName, Source: source, DetailType: detailType, Detail: body },
        Resources: [deduplicationId],
      };
      const { Entries } = await eventBridge.send(new PutEventsCommand({ Entries: [entry] }));
      // A refused entry is no error of the call.
      const refused = Entries?.find(({ ErrorCode }: { ErrorCode?: string }) => ErrorCode !== undefined);
      if (refused) throw new Error(`EventBridge refused the event: ${refused.ErrorCode}`);
    }
  };
}

async function textOf({ body, pk }: Outgoing, seal: Seal | undefined): Promise<string> {
  if (typeof body === 'string') return body;
  if (seal) return Buffer.from(await seal.open(body, { operation: pk })).toString();
  throw new IdempotencyError(
    'BAD_OPTION',
    'The staged messages are sealed, and this relay has nothing to open them with: give relayOutbox({ seal }) what dynamoStore({ seal }) has.',
  );
}

const otherKeys = (keys: object | undefined, partitionKey: string, sortKey: string): IdempotencyError =>
  new IdempotencyError(
    'STORE_MISCONFIGURED',
    `This stream is of a table with the keys ${show(Object.keys(keys ?? {}))}, and not '${partitionKey}' and '${sortKey}', both strings. If they have other names, say so: relayOutbox({ partitionKey, sortKey }).`,
  );

const noImages = (): IdempotencyError =>
  new IdempotencyError(
    'STORE_MISCONFIGURED',
    "The stream has no new images, so there is nothing to publish. Give the table's stream the view type NEW_IMAGE or NEW_AND_OLD_IMAGES; messages that were staged before are still in the table.",
  );

/** Logs why a message failed, for a partial batch response cannot say it. The log shows nothing of the message. */
function tell({ pk, body, groupId, deduplicationId }: Outgoing, destination: string, error: unknown): void {
  const { name, message } = error instanceof Error ? error : { name: typeof error, message: '' };
  // An error of SQS may quote the message, also as JSON inside of JSON.
  const held = [body, groupId, deduplicationId].filter((value) => typeof value === 'string');
  const quotes = held.some((text) => text !== '' && message.includes(JSON.stringify(text).slice(1, -1)));
  const said =
    quotes || held.some((text) => text !== '' && message.includes(text))
      ? '(its text quotes the message)'
      : message;
  console.error(`[idemkit] A message of ${pk} for ${destination} was not published: ${name}: ${said}`);
}

const unknownDestination = ({ pk }: Outgoing, destinations: RelayOptions['destinations']): IdempotencyError =>
  new IdempotencyError(
    'BAD_OPTION',
    `relayOutbox() has no destination of the name that a message of ${pk} goes to, only ${Object.keys(destinations).join(', ')}. Add it, or set otherDestinations: 'skip' where something else publishes it.`,
  );

function checkOptions(options: RelayOptions): void {
  checkKnown('', options, [
    'destinations',
    'otherDestinations',
    'seal',
    'clients',
    'partitionKey',
    'sortKey',
  ]);
  const { destinations, otherDestinations } = options ?? {};
  if (!isRecord(destinations) || Object.keys(destinations).length === 0) {
    throw new IdempotencyError(
      'BAD_OPTION',
      `Expected option \`destinations\` to name where messages go, such as { ledger: { queueUrl } }, got ${show(destinations)}.`,
    );
  }
  for (const [name, destination] of Object.entries(destinations)) checkDestination(name, destination);
  check(
    'otherDestinations',
    otherDestinations,
    "'fail' or 'skip'",
    (value) => value === 'fail' || value === 'skip',
  );
  check(
    'seal',
    options.seal,
    'an object with the functions seal and open',
    (value) => isRecord(value) && isFunction(value.seal) && isFunction(value.open),
  );
  for (const name of ['partitionKey', 'sortKey'] as const) {
    check(name, options[name], "an attribute's name", (value) => typeof value === 'string' && value !== '');
  }
  checkKnown('clients.', options.clients, ['sqs', 'sns', 'eventBridge']);
  for (const [name, client] of Object.entries(options.clients ?? {})) {
    check(
      `clients.${name}`,
      client,
      'a client of the AWS SDK, version 3',
      (value) => isRecord(value) && isFunction(value.send),
    );
  }
}

function checkDestination(name: string, destination: unknown): void {
  const { queueUrl, topicArn, eventBusName, source, detailType } = (destination ?? {}) as Record<
    string,
    unknown
  >;
  const isFifo = (value: unknown) => typeof value === 'string' && value.endsWith('.fifo');
  const isText = (value: unknown) => typeof value === 'string' && value !== '';
  const given = [queueUrl, topicArn, eventBusName].filter((value) => value !== undefined);
  const isFine =
    given.length === 1 &&
    (isFifo(queueUrl) || isFifo(topicArn) || (isText(eventBusName) && isText(source) && isText(detailType)));
  if (isFine) return;
  throw new IdempotencyError(
    'BAD_OPTION',
    `Destination '${name}' is ${show(destination)}. Give { queueUrl } of an SQS FIFO queue or { topicArn } of an SNS FIFO topic (both end in '.fifo', for only those know deduplication ids), or { eventBusName, source, detailType }.`,
  );
}
