/**
 * A load on the app of `cdk.json`, on this machine: concurrent clients pay, one in five requests is sent again with the same key. What counts
 * is that there are as many charges, orders and ledger entries as keys, and no 5xx; the rate is this machine's and says
 * little.
 *
 *   node bench/http-load.ts [--clients 200] [--seconds 30] [--retries 0.2]
 */
import { randomUUID } from 'node:crypto';
import { parseArgs } from 'node:util';
import { paginateScan } from '@aws-sdk/client-dynamodb';
import { startDeployedStack } from '../local/demo/deployed.ts';
import { startPaymentProvider } from '../local/demo/payment-provider.ts';
import { settled, shopOf } from '../local/demo/shop.ts';

const { values } = parseArgs({
  options: {
    clients: { type: 'string', default: '200' },
    seconds: { type: 'string', default: '30' },
    retries: { type: 'string', default: '0.2' },
  },
});
const clients = Number(values.clients);
const retries = Number(values.retries);
const durationMs = Number(values.seconds) * 1000;

const provider = await startPaymentProvider();
const deployed = await startDeployedStack({
  props: { paymentsUrl: provider.url },
  stackName: `Load-${randomUUID()}`,
  callers: 'anyone',
  retryAfterSeconds: 0,
});
const { stack } = deployed;
const shop = shopOf(deployed.names);

const statuses = new Map<string, number>();
const keys = new Set<string>();
const wrongAnswers: string[] = [];
const latenciesMs: number[] = [];

async function pay(key: string, customer: string): Promise<string> {
  const startedAtMs = performance.now();
  const response = await fetch(`${stack.url}${shop.path}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', 'Idempotency-Key': `"${key}"` },
    body: JSON.stringify({ customer, amount: 4_200, currency: 'EUR', sku: `book-${customer}` }),
  });
  const text = await response.text();
  latenciesMs.push(performance.now() - startedAtMs);
  const replayed = response.headers.has('idempotent-replayed') ? ' replayed' : '';
  const status = `${response.status}${replayed}`;
  statuses.set(status, (statuses.get(status) ?? 0) + 1);
  return response.status === 201 ? text : '';
}

/** How many items of a kind the shop's table has. */
async function countOf(kind: string): Promise<number> {
  let count = 0;
  const scan = {
    TableName: shop.table,
    FilterExpression: 'begins_with(id, :kind)',
    ExpressionAttributeValues: { ':kind': { S: `${kind}#` } },
  };
  for await (const { Count = 0 } of paginateScan({ client: stack.dynamodb }, scan)) count += Count;
  return count;
}

async function client(number: number, untilMs: number): Promise<void> {
  while (Date.now() < untilMs) {
    const key = randomUUID();
    keys.add(key);
    const customer = `customer-${number}`;
    // A retry now and then overtakes its own first request, as a double click does.
    const isRetried = Math.random() < retries;
    const answers = await Promise.all(
      isRetried ? [pay(key, customer), pay(key, customer)] : [pay(key, customer)],
    );
    const given = new Set(answers.filter((answer) => answer !== ''));
    if (given.size > 1) wrongAnswers.push(key);
    if (given.size === 0) keys.delete(key);
  }
}

try {
  const startedAtMs = Date.now();
  await Promise.all(Array.from({ length: clients }, (_, number) => client(number, startedAtMs + durationMs)));
  const tookSeconds = (Date.now() - startedAtMs) / 1000;
  const sent = latenciesMs.length;
  const failures = [...statuses].filter(([status]) => status.startsWith('5'));
  latenciesMs.sort((left, right) => left - right);
  const quantileMs = (q: number) => Math.round(latenciesMs[Math.floor((sent - 1) * q)] ?? 0);

  console.log(
    `${clients} clients, ${tookSeconds.toFixed(1)} s, ${sent} requests, ${(sent / tookSeconds).toFixed(0)} a second`,
  );
  console.log(`answers: ${[...statuses].map(([status, count]) => `${count} × ${status}`).join(', ')}`);
  console.log(`latency: median ${quantileMs(0.5)} ms, 99 % ${quantileMs(0.99)} ms`);
  await settled(stack, shop);
  console.log(`ledger settled ${((Date.now() - startedAtMs) / 1000 - tookSeconds).toFixed(1)} s later`);
  const counts = [provider.charges.length, await countOf('order'), await countOf('entry')];
  console.log(
    `distinct keys ${keys.size}, charges, orders, entries ${counts.join(', ')}, 5xx ${failures.length === 0 ? 0 : failures}`,
  );
  const isRight =
    counts.every((count) => count === keys.size) && failures.length === 0 && wrongAnswers.length === 0;
  console.log(
    isRight
      ? 'One charge, one order and one entry a key, no 5xx.'
      : `NOT RIGHT: ${wrongAnswers.length} keys with two answers`,
  );
  process.exitCode = isRight ? 0 : 1;
} finally {
  await deployed.stop();
  await provider.stop();
}
