import type { Sandbox } from '../simulation/sandbox.ts';
import type { World } from '../simulation/world.ts';

/** How handlers are run: one at a time and killed at a deadline, as in a Lambda, or several at once in a process that lives on. */
export type Runtime =
  | { readonly kind: 'function'; readonly timeoutMs: number }
  | { readonly kind: 'service'; readonly leaseSeconds: number };

/** The processes of one guarded handler. */
export class Fleet<Guarded> {
  readonly #world: World;
  readonly #runtime: Runtime;
  readonly #guardIn: (sandbox: Sandbox) => Guarded;
  readonly #all: { readonly sandbox: Sandbox; readonly guarded: Guarded }[] = [];

  constructor(world: World, runtime: Runtime, guardIn: (sandbox: Sandbox) => Guarded) {
    this.#world = world;
    this.#runtime = runtime;
    this.#guardIn = guardIn;
  }

  get deadline(): { readonly timeoutMs: number } | undefined {
    return this.#runtime.kind === 'function' ? this.#runtime : undefined;
  }

  /** One that can take another call; a new one where there is none. */
  pick(name = 'sandbox'): { readonly sandbox: Sandbox; readonly guarded: Guarded } {
    const isFree = (sandbox: Sandbox) => this.#runtime.kind === 'service' || sandbox.running === 0;
    const free = this.#all.filter(({ sandbox }) => !sandbox.isDead && isFree(sandbox));
    const isEnough = this.#runtime.kind === 'function' ? free.length > 0 : free.length > 1;
    if (isEnough && name === 'sandbox') return this.#world.chance.pick('fleet', free);
    const sandbox = this.#world.sandbox(name);
    const made = { sandbox, guarded: this.#guardIn(sandbox) };
    this.#all.push(made);
    return made;
  }
}
