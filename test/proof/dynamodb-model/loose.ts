/** A request or an answer, of any operation. */
// biome-ignore lint/suspicious/noExplicitAny: which members it has depends on the operation, and is checked where they are read.
export type Loose = Record<string, any>;
