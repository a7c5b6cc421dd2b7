/**
 * Serves the simulator's page on this machine. The page asks for runs, and each run is played in a thread of its own.
 * This room decides how a run looks and feels. It never decides what befalls a request, nor what is counted.
 */
export { addressOf } from './address.ts';
export { type SimulatorPage, servePage } from './server.ts';
