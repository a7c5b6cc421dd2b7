/**
 * The command line: which command is meant, what it is told, and how its findings look in a terminal.
 * This room decides words, tables and exit codes. It never decides what is found.
 */
export type { Terminal } from './command.ts';
export { main } from './main.ts';
