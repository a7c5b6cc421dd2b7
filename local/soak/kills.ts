import { setTimeout as sleep } from 'node:timers/promises';
import type { Lane } from '../demo/index.ts';
import type { Stack } from '../stack/index.ts';

export interface Kill {
  readonly atMs: number;
  /** The function or pipe. */
  readonly name: string;
  /** Absent where it was killed at no request in particular. */
  readonly operation?: string;
  readonly when?: 'before' | 'after';
  /** How many processes were killed. */
  readonly processes: number;
}

/** Kills functions and pipes until it is stopped: around a request of theirs, or whenever it happens to be. */
export async function killAtRandom(
  stack: Stack,
  lanes: readonly Lane[],
  random: () => number,
  signal: AbortSignal,
  onKill: (kill: Kill) => void,
): Promise<void> {
  const functions = lanes.flatMap(({ shop, roles: { relay } }) => [
    ...[shop.payments, shop.payments, shop.ledger],
    ...(relay === undefined ? [] : [relay]),
  ]);
  const pipes = lanes.flatMap(({ roles: { pipe } }) => (pipe === undefined ? [] : [pipe]));
  const parts = [...functions, ...pipes];
  while (!signal.aborted) {
    const name = parts[Math.floor(random() * parts.length)]!;
    const isPipe = pipes.includes(name);
    if (random() < 0.3) {
      if (isPipe) stack.pipe(name).crash();
      const processes = isPipe ? 1 : stack.function(name).crash();
      if (processes > 0) onKill({ atMs: Date.now(), name, processes });
    } else {
      const when = random() < 0.5 ? 'before' : 'after';
      const request = 1 + Math.floor(random() * 8);
      const operation = isPipe && random() < 0.5 ? { operation: 'SendMessageBatch', request: 1 } : {};
      const kill = stack.killAt({ request, when, function: name, ...operation });
      // What is not reached soon is not waited for.
      const patience = sleep(3_000, undefined, { signal }).catch(() => {});
      await Promise.race([kill.struck, patience]);
      const struck = kill.disarm();
      if (struck !== undefined) onKill({ atMs: Date.now(), name, when, ...struck });
    }
    await sleep(300 + random() * 1_500, undefined, { signal }).catch(() => {});
  }
}
