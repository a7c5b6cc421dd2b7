import type { BatchRecord } from '../events/index.ts';

/** Sorts records into lanes, whose records are processed one after the other. A record without a group has its own lane. */
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
