export interface Column<Row> {
  readonly title: string;
  /** In characters; what is longer is wrapped between words, though not at a no-break space. */
  readonly width: number;
  cell(row: Row): string;
}

/**
 * Rows as plain text, columns divided by ` | `, rows by a line; `dense`, only the head. Reads the same on a terminal and in
 * a file.
 */
export function formatTable<Row>(
  columns: readonly Column<Row>[],
  rows: readonly Row[],
  style: 'ruled' | 'dense' = 'ruled',
): string {
  const rule = columns.map(({ width }) => '-'.repeat(width)).join('-+-');
  const lines = [
    ...formatRow(
      columns,
      columns.map(({ title }) => title),
    ),
  ];
  for (const [index, row] of rows.entries()) {
    if (index === 0 || style === 'ruled') lines.push(rule);
    lines.push(
      ...formatRow(
        columns,
        columns.map((column) => column.cell(row)),
      ),
    );
  }
  return lines.join('\n').replaceAll('\u00a0', ' ');
}

function formatRow<Row>(columns: readonly Column<Row>[], cells: readonly string[]): string[] {
  const wrapped = cells.map((cell, index) => wrap(cell, columns[index]?.width ?? 0));
  const height = Math.max(...wrapped.map(({ length }) => length));
  return Array.from({ length: height }, (_, line) =>
    columns
      .map(({ width }, index) => (wrapped[index]?.[line] ?? '').padEnd(width))
      .join(' | ')
      .trimEnd(),
  );
}

function wrap(text: string, width: number): string[] {
  const lines: string[] = [];
  let line = '';
  for (const word of text.split(' ')) {
    if (line !== '' && line.length + 1 + word.length > width) {
      lines.push(line);
      line = word;
    } else {
      line = line === '' ? word : `${line} ${word}`;
    }
  }
  lines.push(line);
  return lines;
}
