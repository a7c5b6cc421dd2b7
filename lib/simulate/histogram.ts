/** Exact to a millisecond up to a second, to half a percent beyond: how many buckets there are does not depend on how much is added. */
const exactMs = 1_000;
const perDoubling = 128;

/** Durations of a run, of which quantiles are asked. A duration may be negative. */
export class Histogram {
  count = 0;
  readonly #buckets = new Map<number, number>();

  add(ms: number): void {
    const bucket = bucketOf(ms);
    this.#buckets.set(bucket, (this.#buckets.get(bucket) ?? 0) + 1);
    this.count++;
  }

  /** The least duration that at least `share` of all do not exceed; `null` where there is none. */
  quantile(share: number): number | null {
    let left = Math.max(1, Math.ceil(share * this.count));
    for (const bucket of [...this.#buckets.keys()].sort((one, other) => one - other)) {
      left -= this.#buckets.get(bucket) ?? 0;
      if (left <= 0) return msOf(bucket);
    }
    return null;
  }
}

function bucketOf(ms: number): number {
  if (ms < 0) return -bucketOf(-ms);
  const whole = Math.round(ms);
  return whole <= exactMs ? whole : exactMs + Math.round(Math.log2(whole / exactMs) * perDoubling);
}

function msOf(bucket: number): number {
  if (bucket < 0) return -msOf(-bucket);
  return bucket <= exactMs ? bucket : Math.round(exactMs * 2 ** ((bucket - exactMs) / perDoubling));
}
