import type { BatchRecord, SenderPlace } from '../events/index.ts';

/**
 * Sorts records into lanes, whose records are processed one after the other. A record without a group has its own lane, unless a
 * numbered sender has sent it: then it is in the sender's lane, by epoch and number.
 */
export function lanesOf(
  records: readonly BatchRecord[],
  placeOf: (record: BatchRecord) => SenderPlace | undefined = () => undefined,
): BatchRecord[][] {
  const lanes = new Map<unknown, BatchRecord[]>();
  for (const record of records) {
    const name = record.group ?? placeOf(record)?.sender ?? record;
    const lane = lanes.get(name);
    if (lane) lane.push(record);
    else lanes.set(name, [record]);
  }
  return [...lanes.values()].map((lane) => (isInOrder(lane) ? lane : sorted(lane, placeOf)));
}

/** Whether the source has given the records an order. */
export const isInOrder = ([first]: readonly BatchRecord[]): boolean => first?.group !== undefined;

function sorted(
  lane: readonly BatchRecord[],
  placeOf: (record: BatchRecord) => SenderPlace | undefined,
): BatchRecord[] {
  const places = lane.map((record) => ({ record, epoch: 0, number: 0, ...placeOf(record) }));
  places.sort((one, other) => one.epoch - other.epoch || one.number - other.number);
  return places.map(({ record }) => record);
}
