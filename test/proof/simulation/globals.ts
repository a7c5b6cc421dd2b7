/** Time and chance of this process, replaced while a run goes on: the library asks for both by their global names. */
import crypto from 'node:crypto';
import { syncBuiltinESMExports } from 'node:module';
import timers from 'node:timers';
import type { Chance } from '../../../lib/simulate/time/chance.ts';
import { Timer } from '../../../lib/simulate/time/timers.ts';
import type { VirtualTime } from '../../../lib/simulate/time/virtual-time.ts';
import { invocation } from './sandbox.ts';

/** @returns what puts the system's back */
export function replaceGlobals(time: VirtualTime, chance: Chance, log: (line: string) => void): () => void {
  const theirs = {
    setTimeout: globalThis.setTimeout,
    clearTimeout: globalThis.clearTimeout,
    timersSetTimeout: timers.setTimeout,
    random: Math.random,
    now: Date.now,
    performanceNow: performance.now,
    randomUUID: crypto.randomUUID,
    warn: console.warn,
    error: console.error,
  };
  const here = (): string => invocation.getStore()?.call?.id ?? 'nobody';
  const nowMs = () => time.nowMs + (invocation.getStore()?.sandbox.skewMs ?? 0);
  globalThis.setTimeout = ((happen: () => void, ms = 0) => {
    const place = invocation.getStore()?.sandbox ?? time;
    return new Timer(place.after(ms, happen));
  }) as never;
  // Middy takes it from the module.
  timers.setTimeout = globalThis.setTimeout;
  globalThis.clearTimeout = ((timer?: Timer) => {
    timer?.cancel();
  }) as never;
  Math.random = () => chance.fraction(`random ${here()}`);
  Date.now = nowMs;
  performance.now = () => time.nowMs;
  crypto.randomUUID = () => chance.uuid(`uuid ${here()}`);
  syncBuiltinESMExports();
  console.warn = (text: unknown) => log(`warns: ${String(text)}`);
  console.error = (text: unknown) => log(`tells: ${String(text)}`);
  return () => {
    globalThis.setTimeout = theirs.setTimeout;
    timers.setTimeout = theirs.timersSetTimeout;
    globalThis.clearTimeout = theirs.clearTimeout;
    Math.random = theirs.random;
    Date.now = theirs.now;
    performance.now = theirs.performanceNow;
    crypto.randomUUID = theirs.randomUUID;
    syncBuiltinESMExports();
    console.warn = theirs.warn;
    console.error = theirs.error;
  };
}
