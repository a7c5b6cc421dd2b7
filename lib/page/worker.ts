/** Plays one run, and posts what the page is to be told. */
import { parentPort, workerData } from 'node:worker_threads';
import { IdempotencyError } from '../errors.ts';
import { simulate } from '../simulate/index.ts';
import { mostOperations, type RunMessage, type RunRequest } from './protocol.ts';

const tell = (message: RunMessage): void => parentPort?.postMessage(message);
const { settings } = workerData as RunRequest;
const startedAtMs = performance.now();

try {
  if (settings?.operations > mostOperations) {
    tell({
      kind: 'refused',
      why: `The page plays at most ${mostOperations} operations. The command line has no limit: npx idemkit simulate --operations ${Number(settings.operations)}.`,
    });
  } else {
    const report = await simulate(settings, {
      onProgress: (progress) => tell({ kind: 'progress', progress }),
    });
    tell({ kind: 'report', report, tookMs: performance.now() - startedAtMs });
  }
} catch (error) {
  if (!IdempotencyError.is(error, 'BAD_OPTION')) throw error;
  tell({ kind: 'refused', why: error.message });
}
