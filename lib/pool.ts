/**
 * Runs `work` for every item, at most `limit` at a time. Items start in their order.
 *
 * @throws the error of an item, after the other items are done
 */
export async function inParallel<T>(
  items: readonly T[],
  limit: number,
  work: (item: T) => Promise<void>,
): Promise<void> {
  const rest = items.values();
  const worker = async (): Promise<void> => {
    // All workers take from one iterator.
    for (const item of rest) await work(item);
  };
  const workers = Array.from({ length: Math.min(limit, items.length) }, worker);
  for (const outcome of await Promise.allSettled(workers)) {
    if (outcome.status === 'rejected') throw outcome.reason;
  }
}
