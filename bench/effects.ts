/**
 * `npm run bench:effects`: plays the same failures with idemkit and with the idempotency utility of Powertools for AWS
 * Lambda, counts how often handlers acted and what callers got, and writes docs/comparison.md and bench/effects/counted.json.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { startDynamoDb } from '../local/aws/dynamodb.ts';
import { peerPackage, peerVersion } from './effects/contenders.ts';
import { type Report, withTable } from './effects/page.ts';
import { countEffects } from './effects/run.ts';

const page = 'docs/comparison.md';
const server = await startDynamoDb();
try {
  const rows = await countEffects(server.endpoint);
  const date = new Date().toISOString().slice(0, 10);
  const report: Report = { peer: peerPackage, version: peerVersion, date, rows };
  writeFileSync('bench/effects/counted.json', `${JSON.stringify(report, null, 2)}\n`);
  const text = withTable(readFileSync(page, 'utf8'), report);
  writeFileSync(page, text);
  console.log(text.slice(text.indexOf('Counted on'), text.indexOf('<!-- counted: end')));
} finally {
  await server.stop();
}
