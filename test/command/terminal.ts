import { main } from '../../lib/command/index.ts';

export interface Ran {
  readonly exitCode: number;
  readonly out: string;
  readonly error: string;
}

/** Runs the command as it is typed. */
export async function idemkit(...args: readonly string[]): Promise<Ran> {
  const texts = { out: '', error: '' };
  const exitCode = await main(args, {
    out: (text) => {
      texts.out += text;
    },
    error: (text) => {
      texts.error += text;
    },
    isLive: false,
  });
  return { exitCode, ...texts };
}
