import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Deployed, type Synthesized, startDeployedStack, synthesize } from '../../local/deployed.ts';
import type { Template } from '../../local/template-reader.ts';
import { dynamodbEndpoint } from '../support/dynamodb.ts';
import { ShopStack } from './deployed-app.ts';
import { type Book, openBook, travel } from './deployed-journey.ts';

/** The app of `deployed-app.ts`, synthesised once; each test runs it, as it is or with one thing in the template changed. */
let book: Book;
let shop: Synthesized;

beforeAll(async () => {
  book = await openBook();
  shop = await synthesize((app) => new ShopStack(app, 'Shop', book.url));
}, 120_000);
afterAll(async () => {
  await shop?.remove();
  await book?.stop();
});

/** Starts the template, after `change`, and makes the journey. */
async function run(change: (template: Template) => void = () => {}): Promise<void> {
  const template = structuredClone(shop.assembly.template);
  change(template);
  let deployed: Deployed | undefined;
  try {
    deployed = await startDeployedStack({
      assembly: { ...shop.assembly, template },
      stackName: `Shop-${randomUUID().slice(0, 8)}`,
      callers: 'anyone',
      retryAfterSeconds: 0,
      dynamodbEndpoint: dynamodbEndpoint(),
      ...(process.env.SHOW && { onLog: ({ functionName, text }) => console.log(functionName, text.slice(0, 300)) }),
    });
    await travel(deployed, book);
  } finally {
    await deployed?.stop();
  }
}

describe('the deployed app', () => {
  test('does on this machine what it is made for', () => run(), 60_000);
});
