/** Reads the item of a numbered sender as the claims of its operations, so that what is promised of every operation is read of these. */
import type { Item } from '../dynamodb-model/index.ts';
import type { ClaimItem } from './history.ts';

/** A sender's item, as far as auditors look into it. */
export interface SenderItem {
  readonly epoch: number;
  /** The highest completed number; −1 where there is none. */
  readonly last: number;
  /** Until when the lease of an attempt holds; `undefined` where none is in flight. */
  readonly leaseUntilMs: number | undefined;
}

interface PlaceChange {
  readonly pk: string;
  readonly before: ClaimItem | undefined;
  readonly after: ClaimItem | undefined;
}

interface Field {
  readonly S?: string;
  readonly N?: string;
  readonly B?: Uint8Array;
  readonly M?: Fields;
}
type Fields = Readonly<Record<string, Field>>;

const records = 6;
const neverMs = 8_640_000_000_000_000;

export function senderItem(item: Item): SenderItem {
  const fields = item as Fields;
  const isInFlight = [...recordsOf(fields)].some(([, record]) => record.status?.S === 'IN_PROGRESS');
  return {
    epoch: Number(fields.epoch?.N),
    last: Number(fields.last?.N ?? -1),
    leaseUntilMs: isInFlight ? Number(fields.leaseUntil?.N) : undefined,
  };
}

/** What one change of the item is for each operation. An operation that is forgotten does not change. */
export function placesChanged(
  sender: string,
  before: Item | undefined,
  after: Item | undefined,
): readonly PlaceChange[] {
  const [earlier, later] = [before, after].map((item) =>
    item ? placesOf(sender, item as Fields) : new Map(),
  );
  return [...(later as Map<string, ClaimItem>)].flatMap(([pk, now]) => {
    const was: ClaimItem | undefined = earlier?.get(pk);
    return JSON.stringify(was) === JSON.stringify(now) ? [] : [{ pk, before: was, after: now }];
  });
}

function placesOf(sender: string, item: Fields): Map<string, ClaimItem> {
  const { epoch, last } = senderItem(item as unknown as Item);
  const places = new Map<string, ClaimItem>();
  for (const [at, record] of recordsOf(item)) {
    const status = record.status?.S ?? 'COMPLETED';
    const isDone = status === 'COMPLETED';
    const number = isDone ? last - ((last - at + records * 2) % records) : last + 1;
    const owner = tokenIn(record.owner);
    places.set(`${sender}:${epoch}:${number}`, {
      ...{ status, owner },
      window: record.window ? tokenIn(record.window) : owner,
      attempt: Number(record.attempt?.N ?? 1),
      leaseUntilMs: isDone ? 0 : Number(item.leaseUntil?.N),
      endsAtMs: isDone ? neverMs : Number(item.endsAt?.N),
      createdAtMs: Number(record.createdAt?.N ?? 0),
      answer: JSON.stringify([record.data, record.writeId, record.chunks, record.unavailable], inBase64),
    });
  }
  return places;
}

/** A token is a UUID, and the item has its bytes. */
function tokenIn(field: Field | undefined): string {
  const hex = Buffer.from(field?.B ?? []).toString('hex');
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
}

function* recordsOf(item: Fields): Iterable<readonly [number, Fields]> {
  for (let at = 0; at < records; at++) {
    const record = item[`record${at}`]?.M;
    if (record) yield [at, record];
  }
}

const inBase64 = (_: string, value: unknown): unknown =>
  value instanceof Uint8Array ? Buffer.from(value).toString('base64') : value;
