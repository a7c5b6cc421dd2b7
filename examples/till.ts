import { readFile, rename, writeFile } from 'node:fs/promises';
// outside this repository: from 'idemkit/client'
import {
  type NumberedSender,
  numberedSender,
  type OverHttpOptions,
  overHttp,
  type SenderStorage,
} from '../lib/client.ts';
import type { Order } from './payment-provider.ts';

/**
 * A till. It numbers its sales, and keeps in a file what has not been acknowledged: switched off and on again, it sends that with
 * the numbers that it had. A till that was replaced, and is switched on once more, is refused.
 *
 * @param name the same in every life; two tills have two names
 */
export const openTill = (
  name: string,
  url: string,
  file: string,
  options?: OverHttpOptions<Order>,
): NumberedSender<Order, Response> =>
  numberedSender({ producer: name, storage: fileStorage(file), send: overHttp(`${url}/sales`, options) });

/** A file is replaced in whole: written beside it, and renamed. */
function fileStorage(file: string): SenderStorage {
  return {
    async load() {
      try {
        return await readFile(file, 'utf8');
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
        throw error;
      }
    },
    async save(state) {
      // Flushed: what has been sent must survive a loss of power.
      await writeFile(`${file}.new`, state, { flush: true });
      await rename(`${file}.new`, file);
    },
  };
}
