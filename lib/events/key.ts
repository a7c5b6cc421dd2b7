/** A key: one value, or parts that are told apart (`['a', 'bc']` is not `['ab', 'c']`; `1` is `'1'`). */
export type Key = string | number | readonly (string | number | undefined)[] | undefined;
