/** Whether an answer is final, when to ask again if not, and what it says. */

const inProgressCodes: readonly unknown[] = ['IN_PROGRESS', 'OVERTAKEN', 'idempotency_key_in_use'];

/** Whether the same request may get another answer later, so that a retry makes sense. */
export async function mayChange(response: Response, retryAfterMs: number | undefined): Promise<boolean> {
  const { status, headers } = response;
  // This is the operation's stored answer, which every repeat gets.
  if (headers.get('Idempotent-Replayed') === 'true') return false;
  if (status === 409)
    return retryAfterMs !== undefined || inProgressCodes.includes((await problemOf(response)).code);
  if (status === 501 || status === 505) return false;
  return status === 425 || status === 429 || status >= 500;
}

/** What a problem (RFC 9457) or Stripe's error tells a program. */
export interface Problem {
  readonly type?: unknown;
  readonly code?: unknown;
  /** With `SEQUENCE_GAP`: the number that the server expects. */
  readonly expected?: unknown;
}

/** The problem in a JSON body; empty where there is none. The caller can still read the body. */
export async function problemOf(response: Response): Promise<Problem> {
  if (!/[/+]json\b/i.test(response.headers.get('Content-Type') ?? '')) return {};
  const text = await response.clone().text();
  try {
    const body = JSON.parse(text);
    return (body?.code === undefined ? body?.error : body) ?? {};
  } catch {
    return {};
  }
}

export function retryAfterMsOf(headers: Headers, nowMs: number): number | undefined {
  const value = headers.get('Retry-After') ?? '';
  if (/^\d+$/.test(value)) return Number(value) * 1000;
  const atMs = httpDateMs(value);
  // Measured by the server's clock where `Date` tells it: the caller's clock may be wrong.
  return atMs === undefined ? undefined : Math.max(0, atMs - (httpDateMs(headers.get('Date')) ?? nowMs));
}

/** A date as HTTP writes it. `Date.parse` alone would take nearly anything for a date. */
function httpDateMs(text: string | null): number | undefined {
  const ms = /^[A-Z][a-z]+, .+ GMT$/.test(text ?? '') ? Date.parse(text ?? '') : Number.NaN;
  return Number.isNaN(ms) ? undefined : ms;
}

/** Frees the connection, which an unread body would keep. */
export function discard(response: Response | undefined): void {
  response?.body?.cancel().catch(() => {
    // The body is broken, or somebody reads it.
  });
}
