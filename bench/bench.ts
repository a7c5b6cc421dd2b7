/**
 * idemkit beside the idempotency utility of Powertools for AWS Lambda, in one run on one machine, in turn. Read the ratios: times are
 * this machine's.
 *
 *   npm run bench -- [--quick] [--only cpu,bundles] [--json FILE] [--docs]
 *   npm run bench -- --from FILE --docs
 *
 * With --only, --docs replaces the sections of those parts.
 */
import './as-in-lambda.ts';
import { readFileSync, writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { updateDocument, writeDocument } from './document.ts';
import { bundles } from './parts/bundles.ts';
import { cold } from './parts/cold.ts';
import { cpu } from './parts/cpu.ts';
import { latency } from './parts/latency.ts';
import { memory } from './parts/memory.ts';
import { payloads } from './parts/payloads.ts';
import { requests } from './parts/requests.ts';
import { scale } from './parts/scale.ts';
import { sdk } from './parts/sdk.ts';
import { sequences } from './parts/sequences.ts';
import { units } from './parts/units.ts';
import { tableOf } from './report.ts';
import { describeMachine, machineText, type PartResult, type Result, root } from './result.ts';
import type { Part } from './runner.ts';

const parts: readonly Part[] = [
  cpu,
  bundles,
  requests,
  sdk,
  payloads,
  memory,
  cold,
  units,
  latency,
  scale,
  sequences,
];

const { values } = parseArgs({
  options: {
    quick: { type: 'boolean', default: false },
    only: { type: 'string' },
    json: { type: 'string' },
    docs: { type: 'boolean', default: false },
    from: { type: 'string' },
  },
});
const wanted = values.only?.split(',');
const unknown = wanted?.find((name) => !parts.some((part) => part.name === name));
if (unknown !== undefined) {
  console.error(
    `--only takes names of parts (${parts.map(({ name }) => name).join(', ')}), got '${unknown}'.`,
  );
  process.exit(2);
}

if (values.from !== undefined) {
  writeDocument(JSON.parse(readFileSync(values.from, 'utf8')) as Result, `${root}docs`);
  process.exit(0);
}

/** On a terminal one line that changes; elsewhere nothing, so that logs stay short. */
const progress = (text: string): void => {
  if (process.stderr.isTTY) process.stderr.write(`\r\u001b[K${text}`);
};

const machine = describeMachine(values.quick);
console.log(`${machineText(machine)}\nMedians, with quartiles; a ratio below 1 is less than the peer's.`);
const results: PartResult[] = [];
for (const { name, title, run } of parts) {
  if (wanted && !wanted.includes(name)) continue;
  const startedAtMs = performance.now();
  const findings = await run({ quick: values.quick, progress: (text) => progress(`${name}: ${text}`) });
  const seconds = Math.round((performance.now() - startedAtMs) / 100) / 10;
  progress('');
  results.push({ name, title, seconds, ...findings });
  console.log(`\n${title} (${name}, ${seconds} s)\n${tableOf(findings.rows)}`);
}
const result: Result = { machine, parts: results };
if (values.json !== undefined) writeFileSync(values.json, `${JSON.stringify(result, null, 2)}\n`);
if (values.docs) (wanted ? updateDocument : writeDocument)(result, `${root}docs`);
