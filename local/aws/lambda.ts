import { type ChildProcess, fork } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { existsSync } from 'node:fs';
import { resolve as resolvePath } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { region } from './account.ts';

export interface FunctionDescription {
  /** The module that exports the handler, relative to the repository, where it runs unbuilt; or an absolute path. */
  readonly entry: string;
  /**
   * Whether it is a bundle, that finds on Lambda nothing but Node's own modules and the AWS SDK, wherever it lies.
   *
   * @default false: the repository's packages
   */
  readonly bundled?: boolean;
  /** The name that the handler is exported under. @default 'handler' */
  readonly handler?: string;
  /** After this long an invocation's process is killed. @default 3, as in Lambda */
  readonly timeoutSeconds?: number;
  /** In addition to what Lambda sets itself. Nothing else of this process's environment is passed on. */
  readonly environment?: Readonly<Record<string, string>>;
  /** What the function is told. It is not enforced. @default 128 */
  readonly memoryMb?: number;
  /** E.g. `nodejs24.x`: what the function is told, by `AWS_EXECUTION_ENV`. @default it is told nothing, as outside Lambda */
  readonly runtime?: string;
  /** The name of the role that allows its requests. @default none: everything is allowed */
  readonly role?: string;
  /** How many processes may run at once; invocations beyond that wait for their turn. @default 10 */
  readonly maxConcurrency?: number;
}

export type Invocation =
  | { readonly outcome: 'result'; readonly payload: string }
  /** The handler threw. */
  | { readonly outcome: 'error'; readonly errorType: string; readonly errorMessage: string }
  /** The process ended before it answered, or could not load the handler. */
  | { readonly outcome: 'crash'; readonly reason: string }
  /** The deadline came first, and the process was killed. */
  | { readonly outcome: 'timeout' };

export interface LogLine {
  readonly functionName: string;
  /** Absent for what is said outside an invocation, and for what bypasses `console`. */
  readonly requestId?: string;
  readonly level?: 'debug' | 'log' | 'info' | 'warn' | 'error';
  readonly text: string;
}

export interface SandboxState {
  readonly pid: number;
  readonly busy: boolean;
  /** How many invocations it has begun. */
  readonly invocations: number;
}

export interface LocalFunction {
  readonly sandboxes: readonly SandboxState[];
  /** `event` goes through JSON, and so does the result. */
  invoke(event: unknown): Promise<Invocation>;
  /** Kills the processes that are working, with SIGKILL: what they were doing ends in the middle. Returns how many. */
  crash(): number;
  /** Stops the processes that are working, with SIGSTOP; returns what lets them go on. Their deadlines do not wait. */
  pause(): () => void;
  /** Kills all processes and waits for their end. */
  stop(): Promise<void>;
}

/** What `lambda-runtime.ts` is started for. */
export interface SandboxTask {
  readonly entry: string;
  readonly handler: string;
  readonly bundled: boolean;
}

/** An invocation, as `lambda-runtime.ts` receives it. */
export interface ToSandbox {
  readonly requestId: string;
  readonly event: string;
  /** Epoch milliseconds. */
  readonly deadlineMs: number;
}

/** What `lambda-runtime.ts` has to say. */
export type FromSandbox =
  | { readonly type: 'ready' }
  | { readonly type: 'result'; readonly payload: string }
  | { readonly type: 'error'; readonly errorType: string; readonly errorMessage: string }
  | {
      readonly type: 'log';
      readonly requestId?: string | undefined;
      readonly level: NonNullable<LogLine['level']>;
      readonly text: string;
    };

/** What a Lambda function may return. */
const maxPayloadBytes = 6 * 1024 * 1024;
const initTimeoutMs = 30_000;

interface Waiting {
  readonly event: string;
  readonly settle: (invocation: Invocation) => void;
}

/**
 * A Lambda function on this machine. As in Lambda, a process serves one invocation at a time and is used again while it
 * is warm; more are started as invocations come in at once, up to `maxConcurrency`. Importing the entry does not count
 * towards the timeout. Unlike Lambda, what is beyond `maxConcurrency` waits and is not refused.
 *
 * @throws Error when the entry is not there
 */
export function createFunction(
  functionName: string,
  description: FunctionDescription,
  onLog: (line: LogLine) => void,
): LocalFunction {
  const { timeoutSeconds = 3, maxConcurrency = 10 } = description;
  const entry = resolvePath(fileURLToPath(new URL('../..', import.meta.url)), description.entry);
  if (!existsSync(entry)) throw new Error(`Function '${functionName}': there is no file ${entry}.`);

  const sandboxes = new Set<Sandbox>();
  const queue: Waiting[] = [];
  let stopped = false;

  function dispatch(): void {
    // The one that was used last comes first, as in Lambda, so that fewer stay warm.
    for (const sandbox of [...sandboxes].filter(({ isIdle }) => isIdle).sort(byLastUse)) {
      const next = queue.shift();
      if (next === undefined) return;
      void sandbox.run(next.event, timeoutSeconds * 1000).then((invocation) => {
        next.settle(invocation);
        dispatch();
      });
    }
    const starting = [...sandboxes].filter(({ isStarting }) => isStarting).length;
    const room = Math.min(queue.length - starting, maxConcurrency - sandboxes.size);
    for (let i = 0; i < room; i++) start();
  }

  function start(): void {
    const sandbox = new Sandbox(functionName, entry, description, onLog);
    sandboxes.add(sandbox);
    void sandbox.started.then((problem) => {
      // The invocation that caused this start gets the reason.
      if (problem !== undefined) queue.shift()?.settle({ outcome: 'crash', reason: problem });
      dispatch();
    });
    void sandbox.ended.then(() => {
      sandboxes.delete(sandbox);
      if (!stopped) dispatch();
    });
  }

  return {
    get sandboxes() {
      return [...sandboxes].map(({ pid, isBusy, invocations }) => ({ pid, busy: isBusy, invocations }));
    },
    invoke(event) {
      if (stopped) return Promise.resolve({ outcome: 'crash', reason: 'The stack has been stopped.' });
      return new Promise((resolve) => {
        const settle = (invocation: Invocation): void => {
          if (invocation.outcome === 'crash') onLog({ functionName, text: `Crashed: ${invocation.reason}` });
          if (invocation.outcome === 'timeout') {
            onLog({ functionName, text: `Timed out after ${timeoutSeconds} s` });
          }
          resolve(invocation);
        };
        queue.push({ event: JSON.stringify(event), settle });
        dispatch();
      });
    },
    crash() {
      const busy = [...sandboxes].filter(({ isBusy }) => isBusy);
      for (const sandbox of busy) sandbox.signal('SIGKILL');
      return busy.length;
    },
    pause() {
      const busy = [...sandboxes].filter(({ isBusy }) => isBusy);
      for (const sandbox of busy) sandbox.signal('SIGSTOP');
      return () => {
        for (const sandbox of busy) sandbox.signal('SIGCONT');
      };
    },
    async stop() {
      stopped = true;
      for (const waiting of queue.splice(0)) {
        waiting.settle({ outcome: 'crash', reason: 'The stack has been stopped.' });
      }
      const all = [...sandboxes];
      for (const sandbox of all) sandbox.signal('SIGKILL');
      await Promise.all(all.map(({ ended }) => ended));
    },
  };
}

const byLastUse = (one: Sandbox, other: Sandbox): number => other.lastUsedAt - one.lastUsedAt;

let uses = 0;

class Sandbox {
  /** Resolves to what went wrong, if something did. */
  readonly started: Promise<string | undefined>;
  readonly ended: Promise<void>;
  invocations = 0;
  /** A count, not a time: a later use has a higher one. */
  lastUsedAt = 0;
  readonly #child: ChildProcess;
  #state: 'starting' | 'idle' | 'busy' | 'ended' = 'starting';
  #settle: ((invocation: Invocation) => void) | undefined;
  #isKilled = false;

  constructor(
    functionName: string,
    entry: string,
    description: FunctionDescription,
    onLog: (line: LogLine) => void,
  ) {
    const { handler = 'handler', bundled = false, environment } = description;
    const runtime = fileURLToPath(new URL('./lambda-runtime.ts', import.meta.url));
    const child = fork(runtime, [JSON.stringify({ entry, handler, bundled } satisfies SandboxTask)], {
      // Not the flags of this process, which may be a test runner's worker.
      execArgv: [],
      env: { ...lambdaEnvironment(functionName, description), ...environment },
      stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
    });
    this.#child = child;
    endWithThisProcess(child);

    let lastWords = '';
    for (const stream of [child.stdout, child.stderr]) {
      if (stream === null) continue;
      createInterface({ input: stream }).on('line', (text) => {
        // Node prints an uncaught error's stack first and its own version last.
        if (/^\w*Error\b/.test(text)) lastWords = text;
        onLog({ functionName, text });
      });
    }
    child.on('message', (message: FromSandbox) => {
      if (message.type === 'ready') return;
      if (message.type === 'log') {
        const { requestId, level, text } = message;
        onLog({ functionName, ...(requestId !== undefined && { requestId }), level, text });
        return;
      }
      this.#answer(
        message.type === 'error'
          ? { outcome: 'error', errorType: message.errorType, errorMessage: message.errorMessage }
          : checkSize(message.payload),
      );
    });
    // Without a listener, a failed kill or send would end this process. `ended` resolves in any case.
    child.on('error', (error) => {
      lastWords ||= error.message;
    });

    this.started = new Promise((resolve) => {
      const tooSlow = setTimeout(() => {
        this.signal('SIGKILL');
        resolve(`${functionName} did not load within ${initTimeoutMs / 1000} s.`);
      }, initTimeoutMs);
      child.on('message', (message: FromSandbox) => {
        if (message.type !== 'ready') return;
        clearTimeout(tooSlow);
        this.#state = 'idle';
        resolve(undefined);
      });
      child.once('close', () => {
        clearTimeout(tooSlow);
        resolve(this.#state === 'starting' ? `${functionName} could not be loaded. ${lastWords}` : undefined);
      });
    });
    this.ended = new Promise((resolve) => {
      // Not 'exit': that may come before the last lines and messages.
      child.once('close', (code, signal) => {
        const wasBusy = this.#state === 'busy';
        this.#state = 'ended';
        if (wasBusy) {
          this.#settle?.({
            outcome: 'crash',
            reason: lastWords || `exited with ${signal ?? `code ${code}`}`,
          });
        }
        resolve();
      });
    });
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  get isStarting(): boolean {
    return this.#state === 'starting';
  }

  get isIdle(): boolean {
    return this.#state === 'idle';
  }

  get isBusy(): boolean {
    return this.#state === 'busy';
  }

  signal(signal: NodeJS.Signals): void {
    this.#isKilled ||= signal === 'SIGKILL';
    this.#child.kill(signal);
  }

  run(event: string, timeoutMs: number): Promise<Invocation> {
    this.#state = 'busy';
    this.invocations++;
    this.lastUsedAt = ++uses;
    return new Promise((resolve) => {
      const deadline = setTimeout(() => {
        this.#settle = undefined;
        this.signal('SIGKILL');
        // Only when the process is gone: the next attempt must not run beside the rest of this one.
        void this.ended.then(() => resolve({ outcome: 'timeout' }));
      }, timeoutMs);
      this.#settle = (invocation) => {
        clearTimeout(deadline);
        this.#settle = undefined;
        resolve(invocation);
      };
      const message: ToSandbox = { requestId: randomUUID(), event, deadlineMs: Date.now() + timeoutMs };
      this.#child.send(message);
    });
  }

  #answer(invocation: Invocation): void {
    // The process was killed while its answer was under way: the answer is too late.
    if (this.#isKilled || this.#settle === undefined) return;
    this.#state = 'idle';
    this.#settle(invocation);
  }
}

function checkSize(payload: string): Invocation {
  const bytes = Buffer.byteLength(payload);
  if (bytes <= maxPayloadBytes) return { outcome: 'result', payload };
  return {
    outcome: 'error',
    errorType: 'Function.ResponseSizeTooLarge',
    errorMessage: `Response payload size (${bytes} bytes) exceeded maximum allowed payload size (${maxPayloadBytes} bytes).`,
  };
}

const lambdaEnvironment = (
  functionName: string,
  { handler = 'handler', memoryMb = 128, runtime }: FunctionDescription,
): Record<string, string> => ({
  AWS_REGION: region,
  AWS_DEFAULT_REGION: region,
  AWS_ACCESS_KEY_ID: 'local',
  AWS_SECRET_ACCESS_KEY: 'local',
  AWS_LAMBDA_FUNCTION_NAME: functionName,
  AWS_LAMBDA_FUNCTION_VERSION: '$LATEST',
  AWS_LAMBDA_FUNCTION_MEMORY_SIZE: String(memoryMb),
  ...(runtime !== undefined && { AWS_EXECUTION_ENV: `AWS_Lambda_${runtime}` }),
  _HANDLER: `index.${handler}`,
  TZ: ':UTC',
});

const children = new Set<ChildProcess>();

/** Kills what is left when this process exits. A child that is paused or in an endless loop would not end by itself. */
function endWithThisProcess(child: ChildProcess): void {
  if (children.size === 0) process.on('exit', killAll);
  children.add(child);
  child.once('close', () => {
    children.delete(child);
    if (children.size === 0) process.off('exit', killAll);
  });
}

function killAll(): void {
  for (const child of children) child.kill('SIGKILL');
}
