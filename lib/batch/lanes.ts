import type { BatchRecord } from '../events/index.ts';

/** Sorts records into lanes. The records of a lane are processed one after the other: a group is one, a record without a group too. */
export function lanesOf(records: readonly BatchRecord[]): BatchRecord[][] {
  const lanes = new Map<unknown, BatchRecord[]>();
  for (const record of records) {
    const name = record.group ?? record;
    const lane = lanes.get(name);
    if (lane) lane.push(record);
    else lanes.set(name, [record]);
  }
  return [...lanes.values()];
}
