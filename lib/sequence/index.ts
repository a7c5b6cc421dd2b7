/**
 * Numbered senders: which place in its sender's sequence an event has, read from the event or from a header.
 * `numbered` brings this room to the guards that have it as their option; a bundle without it has none of this code.
 * This room never decides what a place means for an attempt (`store` and `engine` do), nor who runs.
 */
export { sequenceHeader } from './header.ts';
export { type NumberedOptions, numbered, type Sequence } from './numbered.ts';
export type { Numbering } from './place.ts';
