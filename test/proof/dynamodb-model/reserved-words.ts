/** Words that may stand in an expression only behind a placeholder. */
export const reservedWords: ReadonlySet<string> = new Set(
  'DATA OWNER STATUS VALUE WINDOW KEY NAME'.split(' '),
);
