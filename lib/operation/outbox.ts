import { IdempotencyError } from '../errors.ts';
import { hexSha256 } from '../hash.ts';
import { carriedKey } from '../message-key.ts';
import { environment } from '../record.ts';
import type { Seal, StagedMessage } from '../store/index.ts';
import { isRecord, kindOf } from '../validate.ts';

/** A message that goes out if, and only if, the work that it belongs to happens. */
export interface Message {
  /** Which of the guard's `destinations` it goes to. */
  readonly destination: string;
  /** A string is sent as it is, anything else as JSON. At most 255 KB. */
  readonly body: unknown;
  /**
   * Messages of one group stay in order in a FIFO queue or topic. 1 to 128 characters.
   * A pipe may publish two messages of one commit in either order, so stage only one per group there.
   */
  readonly groupId: string;
  /**
   * A FIFO queue drops a message whose id it has seen within five minutes. 1 to 128 characters.
   *
   * @default a hash of window, name and position, which is the same each time the message is published
   */
  readonly deduplicationId?: string;
  /**
   * Puts the deduplication id into the body as the property `idempotencyKey`. The body must be an object.
   * `messageKey` finds it there when a pipe has published the message. A relay always sends it as a message attribute.
   *
   * @default false
   */
  readonly keyInBody?: boolean;
}

/** EventBridge and SNS take 256 KB, ids, names and attributes included. SQS takes more. */
const maxBodyBytes = 261_120;

/**
 * A group id or deduplication id that SQS takes.
 *
 * @see https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessage.html
 */
const id = /^[\w!"#$%&'()*+,./:;<=>?@[\\\]^`{|}~-]{1,128}$/;

/**
 * A character that SQS takes in no body. The relay would publish such a message in vain for ever, and hold up the stream.
 *
 * @see https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessage.html
 */
const notInSqs = /[^\t\n\r\u0020-\uD7FF\uE000-\uFFFD\u{10000}-\u{10FFFF}]/u;

const escaped = (character: string): string => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`;

interface Place {
  readonly pk: string;
  readonly window: string;
  readonly name: string;
  readonly destinations: readonly string[];
  readonly seal: Seal | undefined;
}

export const destinationsFromEnvironment = (): string[] =>
  (process.env[environment.destinations] ?? '')
    .split(',')
    .map((name) => name.trim())
    .filter((name) => name !== '');

/** @throws `BAD_WRITES` for a message that could never be published */
export async function staged(messages: readonly Message[], place: Place): Promise<StagedMessage[]> {
  return Promise.all(messages.map((message, position) => stagedOne(message, position, place)));
}

async function stagedOne(message: Message, position: number, place: Place): Promise<StagedMessage> {
  const { pk, window, name, destinations, seal } = place;
  const refuse = (problem: string) =>
    new IdempotencyError('BAD_WRITES', `Message ${position} ${problem} Nothing has been written.`);
  if (!isRecord(message))
    throw refuse(`is ${kindOf(message)} and not an object with destination, body and groupId.`);
  const {
    destination,
    body,
    groupId,
    deduplicationId = hexSha256(JSON.stringify([pk, window, name, position])),
    keyInBody = false,
  } = message;
  if (destinations.length === 0) {
    throw refuse(
      `has no destination that is known. Name them all in the guard's option \`destinations\` or in ${environment.destinations}, as the relay or the pipes have them; for a function of idemkit/constructs, \`level: 'committed'\` sets that to the destinations of the table's pipes.`,
    );
  }
  if (!destinations.includes(destination)) {
    throw refuse(
      `goes to ${typeof destination === 'string' ? 'a name that' : `${kindOf(destination)}, which`} is none of the destinations ${destinations.join(', ')}.`,
    );
  }
  for (const [what, value] of [
    ['groupId', groupId],
    ['deduplicationId', deduplicationId],
  ] as const) {
    if (typeof value !== 'string' || !id.test(value)) {
      throw refuse(
        // The value is not shown, because it may be a customer's name.
        `has a ${what} that is ${typeof value === 'string' ? `a string of ${value.length} characters` : kindOf(value)}; SQS takes 1 to 128 ASCII letters, digits and punctuation marks, no space.`,
      );
    }
  }
  let text = textOf(body);
  if (text === undefined || text === '') throw refuse('has no body, or one that JSON cannot carry.');
  if (typeof keyInBody !== 'boolean')
    throw refuse(`has a keyInBody that is ${kindOf(keyInBody)}; use true or false.`);
  if (keyInBody) {
    if (typeof body === 'string' || !text.startsWith('{')) {
      throw refuse('has keyInBody: true and a body that is no object. Stage an object.');
    }
    if (hasKey(text)) {
      throw refuse(`has keyInBody: true and '${carriedKey}' in its body already. Leave out one of them.`);
    }
    text = withKey(text, deduplicationId);
  }
  const [forbidden] = notInSqs.exec(text) ?? [];
  if (forbidden !== undefined) {
    throw refuse(
      `has a body with the character ${escaped(forbidden)}, which SQS takes in no message. Stage an object, of which JSON can escape it, or encode the text.`,
    );
  }
  const bytes = Buffer.byteLength(text);
  if (bytes > maxBodyBytes) {
    throw refuse(
      `has a body of ${bytes} bytes; ${maxBodyBytes} is the most that can be published. Keep it elsewhere and send where it is.`,
    );
  }
  const sealed = seal ? await seal.seal(Buffer.from(text), { operation: pk }) : text;
  return { name, position, destination, body: sealed, groupId, deduplicationId };
}

/** `undefined` for what JSON cannot carry: a cycle, a BigInt, a function. */
function textOf(body: unknown): string | undefined {
  if (typeof body === 'string') return body;
  try {
    return JSON.stringify(body)?.replace(new RegExp(notInSqs, 'gu'), escaped);
  } catch {
    return undefined;
  }
}

const hasKey = (object: string): boolean =>
  object.includes(carriedKey) && Object.hasOwn(JSON.parse(object), carriedKey);

function withKey(object: string, key: string): string {
  const rest = object === '{}' ? '}' : `,${object.slice(1)}`;
  return `{${JSON.stringify(carriedKey)}:${JSON.stringify(key)}${rest}`;
}
