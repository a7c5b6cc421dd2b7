/** How much may go wrong in one schedule. It makes the number of schedules finite. */
export interface Budget {
  /** Requests that are lost or late, with what their sender does then: is told, sends again, crashes. */
  readonly faults: number;
  /** How often the time passes to the end of a lease or a window. */
  readonly passes: number;
  /** How often a process does not come on at once: its start, an answer or its handler waits until something else has happened. */
  readonly holds: number;
}
