/** Asks the server for a run, and tells of it message by message. */
import type { SimulationSettings } from '../../simulate/index.ts';
import type { RunMessage } from '../protocol.ts';

/** @throws Error where the server is gone; the signal's reason */
export async function run(
  settings: SimulationSettings,
  signal: AbortSignal,
  told: (message: RunMessage) => void,
): Promise<void> {
  const answer = await fetch('runs', {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(settings),
    signal,
  });
  if (!answer.ok || answer.body === null) throw new Error(await answer.text());
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = '';
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const lines = (rest + value).split('\n');
    rest = lines.pop() ?? '';
    for (const line of lines) told(JSON.parse(line) as RunMessage);
  }
}
