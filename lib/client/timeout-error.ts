/**
 * No answer came in time. The request may have been carried out: send it again with the same key to find out.
 * Its name is `TimeoutError`, like the reason of the platform's `AbortSignal.timeout`.
 */
export class RequestTimeoutError extends Error {
  override readonly name = 'TimeoutError';
  /** Which limit was reached. `attempt`: `attemptTimeoutMs`, in the last attempt. `deadline`: `deadlineMs`. */
  readonly limit: 'attempt' | 'deadline';
  /** How many attempts were begun. */
  readonly attempts: number;
  /** The key of all attempts. Send the request again with it. */
  readonly key: string;

  constructor(
    limit: 'attempt' | 'deadline',
    afterMs: number,
    attempts: number,
    key: string,
    cause?: unknown,
  ) {
    const option = limit === 'attempt' ? 'attemptTimeoutMs' : 'deadlineMs';
    const effect =
      attempts === 0
        ? 'Nothing has been sent.'
        : 'The request may have been carried out: send it again with the same key to find out.';
    super(
      `No answer within ${afterMs} ms (\`${option}\`), in attempt ${attempts}. ${effect}`,
      cause === undefined ? undefined : { cause },
    );
    this.limit = limit;
    this.attempts = attempts;
    this.key = key;
  }
}
