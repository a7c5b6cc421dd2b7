/** Where a numbered sender keeps its state between two lives. */
import { IdempotencyError } from '../errors.ts';
import { check } from '../validate.ts';

/**
 * Keeps one sender's state, which is one text. The text holds the messages that are not acknowledged, in clear: encrypt it in
 * `save` and decrypt it in `load` where others can read the place.
 */
export interface SenderStorage {
  /** The text that was saved last; `undefined` where there is none. If it throws, nothing is sent. */
  load(): Promise<string | undefined> | string | undefined;
  /** Replaces the text, in whole or not at all. Once it has returned or resolved, the text survives a crash. */
  save(state: string): Promise<void> | void;
  /**
   * Runs `work` while nobody else that shares this storage runs theirs, for as long as its promise is pending. The sender then loads
   * its state anew each time. Without it, the storage belongs to one sender.
   */
  exclusively?<T>(work: () => Promise<T>): Promise<T>;
}

/** Keeps the state as long as the page or the process lives. Its unacknowledged messages are lost with it. */
export function memoryStorage(): SenderStorage {
  let saved: string | undefined;
  return {
    load: () => saved,
    save(state) {
      saved = state;
    },
  };
}

/** The parts of a browser that are used. They are named here, because Node's types lack them. */
interface Browser {
  readonly localStorage?: {
    getItem(key: string): string | null;
    setItem(key: string, value: string): void;
  };
  readonly navigator?: {
    readonly locks?: { request<T>(name: string, work: () => Promise<T>): Promise<T> };
  };
}

/**
 * Keeps the state in `localStorage`, under `idemkit.sender.<name>`. All tabs of an origin share it: they take turns by a Web Lock of
 * the same name, so that they are one sender with one order.
 *
 * @throws `BAD_OPTION` for a blank name, and `UNSUPPORTED` where there are no Web Locks: in a page that was not loaded over HTTPS or from localhost, and outside browsers
 */
export function browserStorage(name: string): SenderStorage {
  check('name', name ?? null, 'a string that is not blank', (value) => {
    return typeof value === 'string' && value.trim() !== '';
  });
  const locks = (globalThis as Browser).navigator?.locks;
  if (!locks || !('localStorage' in globalThis)) {
    throw new IdempotencyError(
      'UNSUPPORTED',
      'Tabs take turns by Web Locks, and this is no page that has them together with `localStorage`. Serve the page over HTTPS, or give a storage of your own.',
    );
  }
  const key = `idemkit.sender.${name}`;
  // Looked up each time, because a browser that blocks storage throws here.
  const area = () => (globalThis as Browser).localStorage;
  return {
    load: () => area()?.getItem(key) ?? undefined,
    save: (state) => area()?.setItem(key, state),
    exclusively: (work) => locks.request(key, work),
  };
}
