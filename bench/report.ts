/** What the bench prints. */
import { figure } from '../lib/figure.ts';
import { type Column, formatTable } from '../lib/text-table.ts';
import type { Row, Spread } from './runner.ts';

/** `12.3 (11.9 to 13.0)`: the median and the quartiles, where they differ. */
export function withSpread({ median, lower, upper }: Spread, show: (value: number) => string): string {
  const [middle, low, high] = [show(median), show(lower), show(upper)];
  return low === middle && high === middle ? middle : `${middle} (${low} to ${high})`;
}

const ratioText = (value: number): string => (Number.isFinite(value) ? value.toFixed(2) : '–');

export const cellsOf = ({ what, unit, idemkit, peer, ratio, note }: Row): readonly string[] => [
  unit === '' ? what : `${what}, ${unit}`,
  idemkit ? withSpread(idemkit, figure) : '–',
  peer ? withSpread(peer, figure) : '–',
  ratio ? withSpread(ratio, ratioText) : '–',
  note ?? '',
];

export const titles = ['', 'idemkit', 'peer', 'ratio', ''] as const;
const widths = [46, 24, 24, 21, 40];

export function tableOf(rows: readonly Row[]): string {
  const columns: Column<readonly string[]>[] = titles.map((title, index) => ({
    title,
    width: widths[index] ?? 0,
    cell: (cells) => cells[index] ?? '',
  }));
  return formatTable(columns, rows.map(cellsOf), 'dense');
}
