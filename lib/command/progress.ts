import type { Terminal } from './command.ts';

/** Shorter runs say nothing. */
const silentMs = 1_000;
const everyMs = 5_000;
const everyLiveMs = 200;

/** How far a long run has come, for somebody who looks on; in a log, a line every few seconds. */
export class Progress {
  readonly #terminal: Terminal;
  readonly #nowMs: () => number;
  #nextMs: number;
  #isShown = false;

  constructor(terminal: Terminal, nowMs: () => number = () => performance.now()) {
    this.#terminal = terminal;
    this.#nowMs = nowMs;
    this.#nextMs = nowMs() + (terminal.isLive ? silentMs : everyMs);
  }

  /** @param share from 0 to 1 */
  tell(share: number): void {
    this.#tell(`${Math.floor(share * 100)} % of the operations have begun`);
  }

  /** Where nobody knows of how many. */
  count(done: number, what: string): void {
    this.#tell(`${done.toLocaleString('en-US')} ${what}`);
  }

  #tell(text: string): void {
    const nowMs = this.#nowMs();
    if (nowMs < this.#nextMs) return;
    const { isLive } = this.#terminal;
    this.#nextMs = nowMs + (isLive ? everyLiveMs : everyMs);
    this.#terminal.error(isLive ? `\r${text} ` : `${text}\n`);
    this.#isShown = isLive;
  }

  end(): void {
    if (this.#isShown) this.#terminal.error(`\r${' '.repeat(60)}\r`);
  }
}
