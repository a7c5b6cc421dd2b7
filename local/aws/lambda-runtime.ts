/**
 * What runs in a sandbox: imports one function's entry, then answers one invocation after the other, as Lambda's own
 * runtime does. Started by `lambda.ts`, which speaks to it over IPC.
 */
import { enableCompileCache, flushCompileCache, isBuiltin, registerHooks } from 'node:module';
import { dirname } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { format } from 'node:util';
import type { Context } from 'aws-lambda';
import type { FromSandbox, SandboxTask, ToSandbox } from './lambda.ts';

type Handler = (event: unknown, context: Context) => unknown;

// The host is gone, however it ended: nobody waits for this process any more.
process.on('disconnect', () => process.exit());
// Ctrl-C reaches the whole process group; what it means is the host's decision.
process.on('SIGINT', () => {});

let requestId: string | undefined;
writeConsoleToHost();

const { entry, handler: handlerName, bundled } = JSON.parse(process.argv[2] ?? '{}') as SandboxTask;
const memoryMb = process.env.AWS_LAMBDA_FUNCTION_MEMORY_SIZE ?? '128';
const functionName = process.env.AWS_LAMBDA_FUNCTION_NAME ?? '';
const region = process.env.AWS_REGION ?? '';

// Ten of these start at once where there are two processors: all but the first find their code compiled.
enableCompileCache(fileURLToPath(new URL('../../.cache/compiled', import.meta.url)));
if (bundled) resolveAsOnLambda();
const handler = await importHandler();
process.on('message', (message: ToSandbox) => {
  void invoke(message);
});
send({ type: 'ready' });
// Node itself would do it at the end, but a sandbox is killed.
setImmediate(flushCompileCache);

/** A bundle finds the SDK, that Lambda brings along, wherever it lies; and no other package, even if one is nearby. */
function resolveAsOnLambda(): void {
  const folder = pathToFileURL(`${dirname(entry)}/`).href;
  registerHooks({
    resolve(specifier, context, nextResolve) {
      const isPackage = !/^(?:[./#]|\w+:)/.test(specifier) && !isBuiltin(specifier);
      if (!isPackage || !context.parentURL?.startsWith(folder)) return nextResolve(specifier, context);
      if (/^@(?:aws-sdk|smithy)\//.test(specifier)) {
        return nextResolve(specifier, { ...context, parentURL: import.meta.url });
      }
      throw new Error(`Cannot find package '${specifier}': Lambda has only the AWS SDK, bundle it.`);
    },
  });
}

async function importHandler(): Promise<Handler> {
  const exports = (await import(pathToFileURL(entry).href)) as Record<string, unknown>;
  const found = exports[handlerName];
  if (typeof found === 'function') return found as Handler;
  throw new TypeError(
    `${entry} has no function '${handlerName}'; it exports ${Object.keys(exports).join(', ') || 'nothing'}.`,
  );
}

async function invoke({ requestId: id, event, deadlineMs }: ToSandbox): Promise<void> {
  requestId = id;
  try {
    const result = await handler(JSON.parse(event), contextOf(id, deadlineMs));
    // What JSON cannot say is lost on the way out of a Lambda, too. An `undefined` arrives as null.
    send({ type: 'result', payload: JSON.stringify(result) ?? 'null' });
  } catch (error) {
    console.error('Invoke Error', error);
    send({
      type: 'error',
      errorType: error instanceof Error ? error.name : typeof error,
      errorMessage: error instanceof Error ? error.message : String(error),
    });
  }
}

/** Node 24's runtime has no `done`, `fail` and `succeed` any more. */
function contextOf(awsRequestId: string, deadlineMs: number): Context {
  const context: Omit<Context, 'done' | 'fail' | 'succeed'> = {
    callbackWaitsForEmptyEventLoop: true,
    functionName,
    functionVersion: '$LATEST',
    invokedFunctionArn: `arn:aws:lambda:${region}:000000000000:function:${functionName}`,
    memoryLimitInMB: memoryMb,
    awsRequestId,
    logGroupName: `/aws/lambda/${functionName}`,
    logStreamName: `local/[$LATEST]${process.pid}`,
    getRemainingTimeInMillis: () => Math.max(0, deadlineMs - Date.now()),
  };
  return context as Context;
}

/**
 * Over IPC and not through stdout, so that a line never comes later than the answer that followed it, and is not lost
 * when the process is killed right after it.
 */
function writeConsoleToHost(): void {
  for (const level of ['debug', 'log', 'info', 'warn', 'error'] as const) {
    console[level] = (...values: unknown[]) =>
      send({ type: 'log', requestId, level, text: format(...values) });
  }
}

function send(message: FromSandbox): void {
  if (process.connected) process.send?.(message);
}
