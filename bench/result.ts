/** What one run of the bench found, as it is written to a file. */
import { readFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { fileURLToPath } from 'node:url';
import type { Findings } from './runner.ts';

export interface Machine {
  readonly date: string;
  readonly node: string;
  readonly cpu: string;
  readonly cores: number;
  /** Versions by package. */
  readonly packages: Readonly<Record<string, string>>;
  /** Figures to look at, not to compare. */
  readonly quick: boolean;
}

export interface PartResult extends Findings {
  readonly name: string;
  readonly title: string;
  readonly seconds: number;
}

export interface Result {
  readonly machine: Machine;
  readonly parts: readonly PartResult[];
}

export const root = fileURLToPath(new URL('..', import.meta.url));

const measured = [
  '@aws-lambda-powertools/idempotency',
  '@aws-lambda-powertools/batch',
  '@aws-sdk/client-dynamodb',
  '@middy/core',
] as const;

const versionIn = (file: string): string => JSON.parse(readFileSync(file, 'utf8')).version;

export function describeMachine(quick: boolean): Machine {
  const packages: Record<string, string> = { idemkit: versionIn(`${root}package.json`) };
  for (const name of measured) packages[name] = versionIn(`${root}node_modules/${name}/package.json`);
  return {
    date: new Date().toISOString().slice(0, 10),
    node: process.version,
    cpu: cpus()[0]?.model ?? 'unknown',
    cores: cpus().length,
    packages,
    quick,
  };
}

export const machineText = ({ date, node, cpu, cores, packages }: Machine): string =>
  `${date}, Node ${node}, ${cpu}, ${cores} cores\n${Object.entries(packages)
    .map(([name, version]) => `${name} ${version}`)
    .join(', ')}`;
