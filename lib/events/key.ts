/**
 * A key: a string, a finite number, or an array of these. Parts stay apart: `['a', 'bc']` and `['ab', 'c']` are two keys.
 * A number and its text are one: `1` and `'1'`.
 */
export type Key = string | number | readonly (string | number | undefined)[] | undefined;
