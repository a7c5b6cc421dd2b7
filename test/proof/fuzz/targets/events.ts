import { eachRecord, idempotent, operation, wholePayload } from '../../../../lib/index.ts';
import { memoryStore } from '../../../../lib/testing.ts';
import { lambdaContext } from '../../../support/invocation.ts';
import type { Draw } from '../draw.ts';
import { mutatedValue } from '../mutate.ts';
import { foreign, type Input, type Read, read, readLater, type Target } from '../target.ts';
import { secret, validEvents } from './valid-events.ts';

const context = lambdaContext();

/**
 * Events through the guard. It refuses them with what is ours, or the handler runs; no message shows what a caller sent; and the
 * same event again runs nothing, and gets the same answer.
 */
export const eventsTarget = (guardIt: typeof idempotent = idempotent): Target => ({
  name: 'events',
  make: drawEvent,
  async complaint(event: Input) {
    const fingerprint = complaintAbout(read(() => wholePayload(event)));
    const { told, result } = await listening(
      async () => fingerprint ?? (await asCall(guardIt, event)) ?? (await asBatch(guardIt, event)),
    );
    return result ?? (told.includes(secret) ? `it prints what a caller sent: ${told}` : undefined);
  },
});

/** What is printed while `work` goes on, instead of printing it. */
async function listening<T>(work: () => Promise<T>): Promise<{ readonly told: string; readonly result: T }> {
  const { warn, error } = console;
  let told = '';
  console.warn = console.error = (...words: readonly unknown[]) => {
    told += `${words.map(String).join(' ')}\n`;
  };
  try {
    const result = await work();
    return { told, result };
  } finally {
    Object.assign(console, { warn, error });
  }
}

function drawEvent(draw: Draw): Input {
  const event = draw.pick(validEvents);
  return draw.isTrue(0.05) ? event : mutatedValue(draw, event);
}

/** As it comes to a function, by JSON: nothing in it is one object with anything else. */
const delivered = (event: Input): unknown => JSON.parse(JSON.stringify(event));

async function asCall(guardIt: typeof idempotent, event: Input): Promise<string | undefined> {
  let guardedRuns = 0;
  const guarded = guardIt(
    async (_event: unknown, given?: unknown) => {
      if (operation(given as never).guarded) guardedRuns++;
      return { statusCode: 201, body: `run ${guardedRuns}` };
    },
    { store: memoryStore(), namespace: 'fuzz' },
  );
  const first = await readLater(() => guarded(delivered(event), context));
  const again = await readLater(() => guarded(delivered(event), context));
  const complaint = complaintAbout(first) ?? complaintAbout(again);
  if (complaint !== undefined) return complaint;
  if (guardedRuns > 1) return 'an event and its repeat both run';
  if (guardedRuns === 0) return undefined;
  return again.kind === 'value' && again.value.body === 'run 1'
    ? undefined
    : 'a repeat does not get the first answer';
}

async function asBatch(guardIt: typeof idempotent, event: Input): Promise<string | undefined> {
  const once = new Map<string, number>();
  const guarded = guardIt(
    eachRecord(async (record, { key, scope }) => {
      // Fails for what is no JSON: such a record is to be delivered again.
      const isSecret = record.payload === secret;
      const name = JSON.stringify([scope, key, sourceOf(record)]);
      once.set(name, (once.get(name) ?? 0) + 1);
      return isSecret;
    }),
    { store: memoryStore(), namespace: 'fuzz' },
  );
  for (let delivery = 0; delivery < 2; delivery++) {
    const found = await readLater(() => guarded(delivered(event) as never, context));
    const complaint = complaintAbout(found);
    if (complaint !== undefined) return complaint;
  }
  return [...once.values()].some((runs) => runs > 1) ? 'a record is handled twice' : undefined;
}

/** No service sends a list as a source's name; in a scope it would look like its item. */
function sourceOf(record: object): unknown {
  const { eventSourceARN, Sns, s3 } = record as {
    eventSourceARN?: unknown;
    Sns?: { TopicArn?: unknown };
    s3?: { bucket?: unknown };
  };
  return [eventSourceARN, Sns?.TopicArn, s3?.bucket];
}

function complaintAbout(found: Read<unknown>): string | undefined {
  if (found.kind === 'threw') return foreign(found.error);
  const text = found.kind === 'refused' ? found.message : refusalIn(found.value);
  return text?.includes(secret) ? `it shows what a caller sent: ${text}` : undefined;
}

/** The body of an answer that the guard has made itself. */
function refusalIn(answer: unknown): string | undefined {
  const { statusCode, body } = (answer ?? {}) as { statusCode?: number; body?: string };
  return statusCode !== undefined && statusCode >= 400 ? body : undefined;
}
