import { rmSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createProject, pack, run, write } from './packed.ts';

let project: string;

beforeAll(async () => {
  project = createProject(await pack(), ['@aws-sdk', 'aws-cdk-lib', 'constructs']);
}, 120_000);

afterAll(() => rmSync(project, { recursive: true, force: true }));

async function print(file: string, code: string, flags: readonly string[] = []): Promise<unknown> {
  write(project, { [file]: code });
  const env = { ...process.env, AWS_LAMBDA_FUNCTION_NAME: 'pay', IDEMPOTENCY_NAMESPACE: '' };
  const { stdout } = await run(process.execPath, [...flags, file], { cwd: project, env });
  return JSON.parse(stdout);
}

describe('the package in CommonJS', () => {
  it('loads every entry by require alone, where no ES module can be required', async () => {
    const printed = await print(
      'entries.cjs',
      `const entries = ['idemkit', 'idemkit/client', 'idemkit/client/node', 'idemkit/store', 'idemkit/testing', 'idemkit/constructs'];
      const one = { idemkit: 'idempotent', client: 'retryingFetch', 'client/node': 'fileStorage', store: 'storeContract', testing: 'memoryStore', constructs: 'IdempotencyTable' };
      console.log(JSON.stringify(entries.map((entry) => typeof require(entry)[one[entry.replace('idemkit/', '')]])));`,
      ['--no-experimental-require-module'],
    );
    expect(printed).toEqual(Array(6).fill('function'));
  });

  it('serialises what JSON cannot hold', async () => {
    const printed = await print(
      'answer.cjs',
      `const { idempotent } = require('idemkit');
      const { memoryStore } = require('idemkit/testing');
      const handler = idempotent(async () => ({ at: new Date(0), of: new Map([['a', 1n]]) }), {
        store: memoryStore(),
        key: () => 'a',
      });
      (async () => {
        await handler({});
        const { at, of } = await handler({});
        console.log(JSON.stringify([at.getTime(), typeof of.get('a')]));
      })();`,
      ['--no-experimental-require-module'],
    );
    expect(printed).toEqual([0, 'bigint']);
  });
});

/** One copy comes through `import`, the other one through `require`. */
const bothCopies = `
import { createRequire } from 'node:module';
import * as imported from 'idemkit';
import { memoryStore } from 'idemkit/testing';
const require = createRequire(import.meta.url);
const required = require('idemkit');
const storeOf = new Map([[imported, memoryStore], [required, require('idemkit/testing').memoryStore]]);
if (imported.idempotent === required.idempotent) throw new Error('This is one copy.');
const pairs = [[imported, required], [required, imported]];
const results = [];
`;

describe('a copy that is imported and one that is required', () => {
  it("find each other's operation in the context", async () => {
    const printed = await print(
      'context.mjs',
      `${bothCopies}
      for (const [one, other] of pairs) {
        const handler = one.idempotent(async (event, context) => other.operation(context).key, {
          store: storeOf.get(other)(),
          key: ({ id }) => id,
        });
        results.push(await handler({ id: 'a' }), await handler({ id: 'a' }));
      }
      console.log(JSON.stringify(results));`,
    );
    expect(printed).toEqual(['a', 'a', 'a', 'a']);
  });

  it("process each other's batches record by record", async () => {
    const printed = await print(
      'batch.mjs',
      `${bothCopies}
      const record = (id) => ({
        messageId: id, receiptHandle: id, body: '{}', attributes: {}, messageAttributes: {},
        eventSource: 'aws:sqs', eventSourceARN: 'arn:aws:sqs:eu-west-1:1:mail', md5OfBody: '', awsRegion: 'eu-west-1',
      });
      for (const [one, other] of pairs) {
        let runs = 0;
        const store = storeOf.get(one)();
        const handler = one.idempotent(
          other.eachRecord(async ({ messageId }, operation) => {
            runs++;
            if (messageId === 'bad' || operation.attempt !== 1) throw new Error('refused');
          }),
          { store },
        );
        const answer = await handler({ Records: [record('good'), record('bad')] });
        await handler({ Records: [record('good')] });
        results.push([runs, answer.batchItemFailures.map(({ itemIdentifier }) => itemIdentifier)]);
      }
      console.log(JSON.stringify(results));`,
    );
    expect(printed).toEqual([
      [2, ['bad']],
      [2, ['bad']],
    ]);
  });

  it('refuse to share a default namespace, with an error that both recognise', async () => {
    const printed = await print(
      'namespaces.mjs',
      `${bothCopies}
      for (const [index, [one, other]] of pairs.entries()) {
        const client = { send: async () => ({}) };
        const guard = (copy) =>
          copy.idempotent(async () => 'done', {
            store: copy.dynamoStore({ tableName: 'records-' + index, client }),
            key: () => 'a',
          });
        results.push(await guard(one)({}));
        const error = await guard(other)({}).catch((error) => error);
        results.push([error.code, one.IdempotencyError.is(error), other.IdempotencyError.is(error)]);
      }
      console.log(JSON.stringify(results));`,
    );
    const clash = ['NAMESPACE_CLASH', true, true];
    expect(printed).toEqual(['done', clash, 'done', clash]);
  });
});
