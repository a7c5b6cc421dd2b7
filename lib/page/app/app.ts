import { Charts } from './charts.ts';
import { Controls } from './controls.ts';
import { byId } from './elements.ts';
import { showFigures } from './figures.ts';
import { run } from './run.ts';
import { TimeLines } from './time-lines.ts';

const charts = new Charts();
const timeLines = new TimeLines();
const controls = new Controls(() => later());
const stop = byId('stop', HTMLButtonElement);
let current: AbortController | undefined;
let waiting: ReturnType<typeof setTimeout> | undefined;

/** A slider is moved through many stops: the last one counts. */
function later(): void {
  clearTimeout(waiting);
  waiting = setTimeout(() => void begin(), 200);
}

async function begin(): Promise<void> {
  current?.abort();
  const controller = new AbortController();
  current = controller;
  const { settings } = controls;
  stop.disabled = false;
  charts.begin();
  say(`Plays ${settings.operations.toLocaleString('en')} operations.`);
  try {
    await run(settings, controller.signal, (message) => {
      switch (message.kind) {
        case 'progress':
          byId('progress', HTMLProgressElement).value = message.progress.operations / settings.operations;
          charts.add(message.progress);
          return showFigures(message.progress, settings.level);
        case 'report': {
          const { report, tookMs } = message;
          timeLines.show(report.timeLines);
          const hours = `${(report.seconds / 60).toFixed(1)} minutes of traffic`;
          return say(`Played ${hours} in ${(tookMs / 1_000).toFixed(1)} seconds.`);
        }
        case 'refused':
          return say(message.why);
      }
    });
  } catch (error) {
    if (current !== controller) return;
    say(
      controller.signal.aborted
        ? 'Stopped.'
        : `The run failed: ${error instanceof Error ? error.message : String(error)} Is the command still running?`,
    );
  }
  if (current === controller) stop.disabled = true;
}

function say(text: string): void {
  byId('status', HTMLParagraphElement).textContent = text;
}

stop.addEventListener('click', () => current?.abort());
void begin();
