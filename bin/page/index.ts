/** Serves the simulator's page on this machine. The page asks for runs, and each run is played in a thread of its own. */
export { type SimulatorPage, servePage } from './server.ts';
