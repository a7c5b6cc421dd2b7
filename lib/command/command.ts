/** What a command is, and what it writes to. */

/** Where a command writes to. */
export interface Terminal {
  /** Writes a finding. */
  out(text: string): void;
  /** Writes what is no finding: progress, mistakes. */
  error(text: string): void;
  /** Whether `error` reaches somebody who looks on: a line of progress is then replaced by the next. */
  readonly isLive: boolean;
}

export interface Command {
  readonly name: string;
  /** What it does, in a line. */
  readonly summary: string;
  readonly help: () => string;
  /**
   * @returns the exit code: 0, or 1 where it found what must not be
   * @throws {@link UsageError}
   */
  readonly run: (args: readonly string[], terminal: Terminal) => Promise<number>;
}

/** Arguments that are wrong. The exit code is 2. */
export class UsageError extends Error {
  override readonly name = 'UsageError';
}
