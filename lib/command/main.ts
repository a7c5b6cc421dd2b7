import { type Command, type Terminal, UsageError } from './command.ts';
import { nearestOf } from './nearest.ts';
import { simulateCommand } from './simulate.ts';

const commands: readonly Command[] = [simulateCommand];

/**
 * Runs a command.
 *
 * @param args those after the name of the program
 * @returns the exit code: 0; 1 where a command found what must not be; 2 for arguments that are wrong; 3 where
 * the command itself failed
 */
export async function main(args: readonly string[], terminal: Terminal): Promise<number> {
  const [name, ...rest] = args;
  if (name === undefined || name === '--help' || name === '-h' || name === 'help') {
    terminal.out(help());
    return name === undefined ? 2 : 0;
  }
  const command = commands.find((one) => one.name === name);
  try {
    if (command === undefined) throw new UsageError(unknown(name));
    if (rest.includes('--help') || rest.includes('-h')) {
      terminal.out(command.help());
      return 0;
    }
    return await command.run(rest, terminal);
  } catch (error) {
    if (error instanceof UsageError) {
      terminal.error(`${error.message}\n`);
      return 2;
    }
    terminal.error(`${error instanceof Error ? error.stack : String(error)}\n`);
    return 3;
  }
}

function unknown(name: string): string {
  const names = commands.map((command) => command.name);
  return `Unknown command ${JSON.stringify(name)}. Did you mean ${nearestOf(name, names)}? \`idemkit --help\` lists all.`;
}

const help = (): string =>
  [
    'Usage: idemkit <command> [options]',
    '',
    ...commands.map(({ name, summary }) => `  ${name.padEnd(12)} ${summary}`),
    '',
    '`idemkit <command> --help` tells a command’s options.',
    '',
  ].join('\n');
