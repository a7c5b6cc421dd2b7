/**
 * What can go wrong: a proxy that loses, delays and refuses requests, and points at which a process is killed.
 */
export { type Disturbance, type DisturbanceOptions, drawFaults } from './disturbance.ts';
export { type FaultProxy, type ProxiedRequest, type ServiceAnswer, startFaultProxy } from './fault-proxy.ts';
export {
  createKillPoints,
  type FunctionRequest,
  type KillPoint,
  type KillPointOptions,
  type KillPoints,
} from './kill-points.ts';
