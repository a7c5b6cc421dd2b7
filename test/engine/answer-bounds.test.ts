/** How large an answer may be: as it is stored, and as it is unpacked. */
import { Buffer } from 'node:buffer';
import { deflateRawSync } from 'node:zlib';
import { expect, test } from 'vitest';
import { idempotent, type Seal } from '../../lib/index.ts';
import type { Store } from '../../lib/store.ts';
import { memoryStore } from '../../lib/testing.ts';
import { incompressible } from '../support/hands.ts';

const options = { namespace: 'orders', key: () => 'k' };

test('an answer is measured as it is stored: sealed', async () => {
  const sealing = (more: number): Seal => ({
    seal: async (bytes) => Buffer.concat([bytes, new Uint8Array(more)]),
    open: async (bytes) => bytes.subarray(0, bytes.length - more),
  });
  const answer = incompressible(900_000);
  const repeated = async (seal: Seal) => {
    const call = idempotent(async () => answer, {
      ...options,
      store: { ...memoryStore(), maxAnswerBytes: 1_000_000, seal },
    });
    await call({});
    return ((await call({})) as string).length;
  };
  expect(await repeated(sealing(16))).toBe(answer.length);
  await expect(repeated(sealing(400_000))).rejects.toMatchObject({ code: 'RESULT_UNAVAILABLE' });
});

test('a record that unpacks to more than any answer has is not unpacked', async () => {
  const packed = (characters: number) =>
    Buffer.concat([Uint8Array.of(2), deflateRawSync(JSON.stringify('a'.repeat(characters)))]);
  const repeated = async (bytes: Uint8Array) => {
    const store = memoryStore();
    const claim: Store['claim'] = async (asked) => {
      const written = await store.claim(asked);
      if (written.outcome !== 'stopped' || !written.found) return written;
      return { ...written, found: { ...written.found, answer: { kind: 'inline', bytes } } };
    };
    const call = idempotent(async () => 'done', { ...options, store: { ...store, claim } });
    await call({});
    return (await call({})).length;
  };
  expect(await repeated(packed(15_000_000))).toBe(15_000_000);
  await expect(repeated(packed(17_000_000))).rejects.toMatchObject({ code: 'RESULT_UNAVAILABLE' });
});
