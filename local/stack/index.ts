/**
 * A described stack, started: all parts together, each reached through a proxy.
 */
export type { Disturbance, KillPoint, ProxiedRequest } from '../faults/index.ts';
export type { StackDescription, StackOptions } from './description.ts';
export { type Stack, startStack } from './stack.ts';
