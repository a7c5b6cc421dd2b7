/** A log of real requests, played instead of invented traffic: which of them repeat others, and what that does. */
import { Buffer } from 'node:buffer';
import { type LogFindings, type LoggedRequest, requestsIn } from './log.ts';
import type { OpenOperation } from './open-operation.ts';
import { Run, type SimulateOptions, type SimulationReport } from './run.ts';
import type { SimulationSettings } from './settings.ts';
import { settingsFrom } from './templates.ts';
import { withPlaces } from './time/timers.ts';

export interface ReplayReport extends SimulationReport {
  readonly log: LogFindings;
}

/** A log has the losses, the retries and the double clicks already: a template invents none beside them. */
export const withoutFaults: Partial<SimulationSettings> = {
  ...{ doubleSendRate: 0, requestLossRate: 0, answerLossRate: 0, lateRate: 0 },
  ...{ crashBeforeRate: 0, crashAfterRate: 0, throwRate: 0, overrunRate: 0 },
};

/** How many keys are remembered at once. */
const mostKeys = 200_000;
/** How many lines are read ahead. */
const ahead = 1_000;

const guardedMethods: ReadonlySet<string> = new Set(['POST', 'PATCH']);

/**
 * Plays a log. All requests with one key are one operation, for as long as `windowSeconds` after the last of them. `seed` draws
 * what the log does not tell: how long handler and network take.
 *
 * @param lines of the log, without their ends
 * @throws `LogError` for a line that is no request; what `simulate` throws
 */
export async function replay(
  lines: AsyncIterable<string> | Iterable<string>,
  given: SimulationSettings,
  options: SimulateOptions = {},
): Promise<ReplayReport> {
  const settings = settingsFrom('pay-button', given);
  return withPlaces(() => new Replay(new Run(settings, options), options.signal).report(lines));
}

interface Known {
  readonly inLanes: readonly OpenOperation[];
  lastAtMs: number;
}

class Replay {
  readonly #run: Run;
  readonly #signal: AbortSignal | undefined;
  /** By the hash of the key, the one used longest ago first. */
  readonly #known = new Map<string, Known>();
  readonly #found = { requests: 0, otherMethods: 0, withoutKey: 0, outOfOrder: 0, forgotten: 0 };
  #firstAtMs: number | undefined;
  #operations = 0;

  constructor(run: Run, signal: AbortSignal | undefined) {
    this.#run = run;
    this.#signal = signal;
  }

  async report(lines: AsyncIterable<string> | Iterable<string>): Promise<ReplayReport> {
    const { time } = this.#run;
    let planned = 0;
    let untilMs = time.nowMs;
    for await (const request of requestsIn(lines)) {
      this.#signal?.throwIfAborted();
      untilMs = Math.max(untilMs, this.#plan(request, untilMs));
      if (++planned % ahead !== 0) continue;
      await time.until(untilMs);
      this.#run.mark();
    }
    await time.untilQuiet(undefined, this.#signal);
    for (const known of this.#known.values()) this.#close(known);
    const report = await this.#run.report();
    // How many there are is known at the end only.
    return { ...report, log: { ...this.#found } };
  }

  /** @returns when it is played */
  #plan({ atMs, method, key, fingerprint }: LoggedRequest, lastMs: number): number {
    const { time, elapsedMs } = this.#run;
    this.#found.requests++;
    this.#firstAtMs ??= atMs;
    const dueMs = time.nowMs - elapsedMs + (atMs - this.#firstAtMs);
    if (dueMs < lastMs) this.#found.outOfOrder++;
    const playedAtMs = Math.max(dueMs, lastMs);
    if (!guardedMethods.has(method)) this.#found.otherMethods++;
    else if (key === undefined) this.#found.withoutKey++;
    else time.after(playedAtMs - time.nowMs, () => this.#play(key, fingerprint));
    return playedAtMs;
  }

  #play(key: string, fingerprint: string | undefined): void {
    const { time, lanes, settings } = this.#run;
    for (const [oldest, known] of this.#known) {
      const isOver = known.lastAtMs + settings.windowSeconds * 1000 < time.nowMs;
      if (!isOver && this.#known.size < mostKeys) break;
      if (!isOver) this.#found.forgotten++;
      this.#known.delete(oldest);
      this.#close(known);
    }
    const known = this.#known.get(key) ?? this.#begin(key);
    this.#known.delete(key);
    this.#known.set(key, known);
    known.lastAtMs = time.nowMs;
    const amount = fingerprint === undefined ? 0 : Number.parseInt(hexOf(fingerprint), 16);
    for (const [index, lane] of lanes.entries()) lane.request(known.inLanes[index]!, amount);
  }

  #begin(key: string): Known {
    const { lanes, time } = this.#run;
    const number = this.#operations++;
    const intent = { number, key, order: number, amount: 0 };
    return { inLanes: lanes.map((lane) => lane.open(intent)), lastAtMs: time.nowMs };
  }

  #close({ inLanes }: Known): void {
    for (const [index, lane] of this.#run.lanes.entries()) lane.close(inLanes[index]!);
  }
}

/** 48 bits of a hash, for they fit into a number. */
const hexOf = (hash: string): string => Buffer.from(hash, 'base64url').subarray(0, 6).toString('hex');
