/** `idemkit simulate`: what retries do to a traffic, without idemkit and with. */
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { addressOf, servePage } from '../page/index.ts';
import {
  doubledByCommits,
  LogError,
  replay,
  type SimulationReport,
  type SimulationSettings,
  settingWords,
  simulate,
  sweep,
  templateNames,
  templates,
} from '../simulate/index.ts';
import { svgOf } from '../svg-chart.ts';
import { type Command, type Terminal, UsageError } from './command.ts';
import { linesOf } from './lines.ts';
import { typed } from './options.ts';
import { Progress } from './progress.ts';
import { own, settingNames, type Wanted, wantedFrom } from './simulate-arguments.ts';
import { effectsChart, sweepChart } from './simulate-charts.ts';
import { described, describedLog, laneTable, sweepTable, timeLineText } from './simulate-tables.ts';

export const simulateCommand: Command = {
  name: 'simulate',
  summary: 'plays traffic without idemkit and with, and counts what is done twice',
  help,
  run,
};

async function run(args: readonly string[], terminal: Terminal): Promise<number> {
  const wanted = wantedFrom(args);
  if (wanted.pagePort !== undefined) return showPage(wanted, wanted.pagePort, terminal);
  if (wanted.replay !== undefined) return runReplay(wanted, wanted.replay, terminal);
  return wanted.sweep ? runSweep(wanted, wanted.sweep, terminal) : runOnce(wanted, terminal);
}

async function runOnce(wanted: Wanted, terminal: Terminal): Promise<number> {
  const { settings, template } = wanted;
  const progress = new Progress(terminal);
  const report = await simulate(settings, {
    onProgress: ({ operations }) => progress.tell(operations / settings.operations),
  });
  progress.end();
  const { title } = templates[template];
  return tell(wanted, report, title, described(template, settings, report.seconds), terminal);
}

/** Serves the page until somebody interrupts it. */
async function showPage({ template, settings }: Wanted, port: number, terminal: Terminal): Promise<number> {
  const page = await servePage(port).catch((cause: NodeJS.ErrnoException) => {
    if (cause.syscall !== 'listen') throw cause;
    throw new UsageError(`The page cannot be served on port ${port} (${cause.code}). Give another --port.`, {
      cause,
    });
  });
  terminal.out(`${page.url}${addressOf(template, settings)}\n`);
  terminal.error('The page is served to this machine. Ctrl+C ends it.\n');
  await Promise.race([once(process, 'SIGINT'), once(process, 'SIGTERM')]);
  await page.close();
  return 0;
}

/** The log is opened before anything is played: a file that is not there is a mistake in the arguments. */
async function runReplay(wanted: Wanted, file: string, terminal: Terminal): Promise<number> {
  const progress = new Progress(terminal);
  try {
    const report = await replay(linesOf(file), wanted.settings, {
      onProgress: ({ lanes }) => progress.count(lanes.without.counts.calls, 'requests'),
    });
    progress.end();
    return tell(wanted, report, 'Replayed log', describedLog(wanted.settings, report), terminal);
  } catch (error) {
    progress.end();
    if (error instanceof LogError) throw new UsageError(`${file}: ${error.message}`, { cause: error });
    const { code, syscall } = error as NodeJS.ErrnoException;
    if (code === undefined || syscall === undefined) throw error;
    throw new UsageError(`${JSON.stringify(file)} could not be read (${code}).`, { cause: error });
  }
}

function tell(
  wanted: Wanted,
  report: SimulationReport,
  title: string,
  introduction: string,
  terminal: Terminal,
): number {
  const { template, settings } = wanted;
  if (wanted.isJson) terminal.out(`${JSON.stringify({ template, ...report }, null, 2)}\n`);
  else terminal.out(textOf(introduction, wanted, report));
  if (wanted.svg !== undefined) write(wanted.svg, svgOf(effectsChart(title, report)));
  return exitCode(settings, [report.lanes], terminal);
}

function textOf(introduction: string, { timeLines }: Wanted, report: SimulationReport): string {
  return [
    introduction,
    laneTable(report.lanes),
    ...report.timeLines.slice(0, timeLines).map(timeLineText),
    '',
  ].join('\n\n');
}

async function runSweep(
  { settings, template, isJson, svg, metric }: Wanted,
  { parameter, values }: NonNullable<Wanted['sweep']>,
  terminal: Terminal,
): Promise<number> {
  const progress = new Progress(terminal);
  const report = await sweep(settings, parameter, values, {
    onProgress: (done, of) => progress.tell(done / of),
  });
  progress.end();
  if (isJson) terminal.out(`${JSON.stringify({ template, ...report }, null, 2)}\n`);
  else terminal.out(`${described(template, settings)}\n\n${sweepTable(report)}\n`);
  if (svg !== undefined) write(svg, svgOf(sweepChart(report, metric)));
  return exitCode(
    settings,
    report.points.map(({ lanes }) => lanes),
    terminal,
  );
}

/** Says where an effect was doubled that no fault may double. */
function exitCode(
  settings: SimulationSettings,
  all: readonly SimulationReport['lanes'][],
  terminal: Terminal,
): number {
  const doubled = doubledByCommits(settings, all);
  if (doubled === 0) return 0;
  terminal.error(
    `${doubled} effects were doubled at the level committed, where none may be. Please report the seed.\n`,
  );
  return 1;
}

function write(file: string, text: string): void {
  try {
    writeFileSync(file, text);
  } catch (cause) {
    throw new UsageError(
      `${JSON.stringify(file)} could not be written (${(cause as { code?: string }).code}).`,
      {
        cause,
      },
    );
  }
}

function help(): string {
  const line = (option: string, words: string) => `  --${option.padEnd(28)} ${words}`;
  const { settings } = templates['pay-button'];
  return [
    'Usage: idemkit simulate [template] [options]',
    '',
    'Plays invented traffic against the real guard under virtual time, without idemkit and with.',
    '',
    'Templates (pay-button by default):',
    ...templateNames.map((name) => `  ${name.padEnd(16)} ${templates[name].description}`),
    '',
    'Options:',
    ...Object.entries(own).map(([name, { words }]) => line(name, words)),
    '',
    'Parameters, with their values in pay-button:',
    ...settingNames.map((name) => line(typed(name), `${settingWords[name]} (${settings[name]})`)),
    '',
    'Exit codes: 0; 1 where an effect was doubled at the level committed; 2 for wrong arguments; 3 where the command itself failed.',
    '',
  ].join('\n');
}
