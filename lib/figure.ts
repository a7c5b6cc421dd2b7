/** Three digits that count; thousands apart. */
export function figure(value: number): string {
  if (!Number.isFinite(value)) return '–';
  const rounded =
    Math.abs(value) >= 1_000 || Number.isInteger(value) ? Math.round(value) : Number(value.toPrecision(3));
  return rounded.toLocaleString('en-US', { maximumFractionDigits: 6 });
}
