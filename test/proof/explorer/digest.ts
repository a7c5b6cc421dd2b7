/** Two states are one where they differ only in the moments at which things happened. */
import { hash } from 'node:crypto';
import { effectsTable, recordsTable } from '../simulation/database.ts';
import type { World } from '../simulation/world.ts';

/** What the tables hold, what was done outside, and what the caller adds. */
export const digestOf = ({ database, time, history }: World, more: readonly unknown[]): string => {
  const tables = [database.items(recordsTable), database.items(effectsTable)];
  const effects = history.effects.map(({ execution, name }) => `${execution.id} ${name}`);
  return hash('sha1', JSON.stringify([tables, effects, more], withoutMoments(time.nowMs)), 'base64');
};

/** Of a moment it matters whether it is ahead. */
const withoutMoments =
  (nowMs: number) =>
  (name: string, value: unknown): unknown => {
    if (name === 'expiresAt') return undefined;
    if (value instanceof Uint8Array) return Buffer.from(value).toString('base64');
    const number = (value as { N?: string } | null)?.N;
    if (number === undefined || number.length < 13) return value;
    return Number(number) > nowMs ? 'ahead' : 'over';
  };
