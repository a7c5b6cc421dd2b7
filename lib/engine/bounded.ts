const longestTimerMs = 2 ** 31 - 1;

/**
 * `work`, or a rejection with `tooLate()` once `ms` have passed; what became of `work` is then unknown. On the real clock
 * even where the protocol's is another one: it is the invocation that ends.
 */
export function bounded<T>(work: Promise<T>, ms: number, tooLate: () => Error): Promise<T> {
  if (ms === Number.POSITIVE_INFINITY) return work;
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(tooLate()), Math.min(ms, longestTimerMs));
    work.then(
      (value) => {
        clearTimeout(timer);
        resolve(value);
      },
      (error: unknown) => {
        clearTimeout(timer);
        reject(error);
      },
    );
  });
}
