/** What callers ask for. */
export interface Job {
  readonly tenant: string;
  readonly key: string;
  readonly payload: string;
}
