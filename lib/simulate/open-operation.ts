import type { TimeLineEvent, TimeLineKind } from './time-line.ts';
import type { Intent } from './traffic.ts';

/** How it ended for the caller. */
export type CallerOutcome = 'answered' | 'refused' | 'abandoned';

/** What is known of an operation in one lane, from its first request until nothing of it is under way. */
export class OpenOperation {
  readonly intent: Intent;
  readonly startedAtMs: number;
  requests = 0;
  calls = 0;
  effects = 0;
  /** Requests and calls that are under way. */
  underWay = 0;
  /** Absent while the caller waits. */
  outcome: CallerOutcome | undefined;
  answeredAfterMs: number | undefined;
  /** Whether further requests may come whose times a log has. */
  isHeld = false;
  /** The record's partition key; absent until a guard has told it. */
  pk: string | undefined;
  /** Tokens that the effect's service has seen. */
  tokens: Set<string> | undefined;
  readonly events: TimeLineEvent[] = [];

  constructor(intent: Intent, startedAtMs: number) {
    this.intent = intent;
    this.startedAtMs = startedAtMs;
  }

  get isOver(): boolean {
    return this.outcome !== undefined && this.underWay === 0 && !this.isHeld;
  }

  note(atMs: number, request: number, kind: TimeLineKind, environment?: number): void {
    if (this.events.length >= mostEvents) return;
    this.events.push({ atMs, request, kind, ...(environment !== undefined && { environment }) });
  }
}

/** A time line that is longer than this shows its beginning. */
const mostEvents = 200;
