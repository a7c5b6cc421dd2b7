import type { BatchRecord } from '../events/index.ts';

/** Records that are processed in order, one after the other: those of a group. A record of no group is a lane of its own. */
export function lanesOf(records: readonly BatchRecord[]): BatchRecord[][] {
  const lanes = new Map<unknown, BatchRecord[]>();
  for (const record of records) {
    const place = record.group ?? record;
    const lane = lanes.get(place);
    if (lane) lane.push(record);
    else lanes.set(place, [record]);
  }
  return [...lanes.values()];
}
