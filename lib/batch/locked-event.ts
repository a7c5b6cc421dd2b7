export interface LockedEvent {
  readonly event: object;
  lock(): void;
  unlock(): void;
}

/**
 * A copy of a batch's event whose records can be made unreadable. A handler that reads them without having taken them would
 * process every record again at every delivery: it is stopped before it has seen the first one.
 *
 * @param refusal what reading them throws
 */
export function lockedEvent(event: object, refusal: () => Error): LockedEvent {
  const name = 'Records' in event ? 'Records' : 'records';
  let records: unknown = (event as Record<string, unknown>)[name];
  let isLocked = false;
  const copy = Object.defineProperty({ ...event }, name, {
    configurable: true,
    enumerable: true,
    get: () => {
      if (isLocked) throw refusal();
      return records;
    },
    set: (next) => {
      records = next;
    },
  });
  return {
    event: copy,
    lock: () => {
      isLocked = true;
    },
    unlock: () => {
      isLocked = false;
    },
  };
}
