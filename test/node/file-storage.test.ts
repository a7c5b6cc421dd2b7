import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { numberedSender } from '../../lib/client.ts';
import { fileStorage } from '../../lib/client-node.ts';

let folder: string;
let path: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'idemkit-sender-'));
  path = join(folder, 'sales.json');
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const senderOn = (sent: unknown[], options = {}) =>
  numberedSender<unknown, string>({
    producer: 'till-7',
    storage: fileStorage(path),
    send: ({ epoch, number, payload }) => {
      sent.push([epoch, number, payload]);
      return { outcome: 'answered', answer: 'yes' };
    },
    ...options,
  });

describe('a storage in a file', () => {
  it('has nothing at first, and what was saved last after that', async () => {
    expect(await fileStorage(path).load()).toBeUndefined();
    const storage = fileStorage(path);
    await storage.save('one');
    await storage.save('two ü');
    expect(await fileStorage(path).load()).toBe('two ü');
  });

  it('replaces the file and leaves no other, readable by its owner alone', async () => {
    const storage = fileStorage(path);
    await storage.save('one');
    const before = statSync(path);
    await storage.save('two');
    expect(statSync(path).ino).not.toBe(before.ino);
    expect(readdirSync(folder)).toEqual(['sales.json']);
    expect(statSync(path).mode & 0o777).toBe(0o600);
  });

  it('does not mind what an interrupted save has left', async () => {
    writeFileSync(`${path}.${process.pid}.tmp`, 'half of a sta');
    const storage = fileStorage(path);
    expect(await storage.load()).toBeUndefined();
    await storage.save('whole');
    expect(readFileSync(path, 'utf8')).toBe('whole');
    expect(readdirSync(folder)).toEqual(['sales.json']);
  });

  it('fails where the folder is missing, and takes nothing', async () => {
    path = join(folder, 'missing', 'sales.json');
    const sent: unknown[] = [];
    await expect(senderOn(sent).send('a')).rejects.toMatchObject({
      code: 'STORAGE_FAILED',
      cause: { code: 'ENOENT' },
    });
    expect(sent).toEqual([]);
  });

  it('brings back to the next process what was not acknowledged', async () => {
    const lost = { send: () => ({ outcome: 'unanswered' }), maxAttempts: 1, epoch: () => 1 };
    await senderOn([], lost).send('a');
    const sent: unknown[] = [];
    const next = senderOn(sent, { epoch: () => 2 });
    expect(await next.queued()).toEqual(['a']);
    await next.send('b');
    expect(sent).toEqual([
      [1, 0, 'a'],
      [2, 0, 'b'],
    ]);
  });

  it('stops the older of two processes on one file', async () => {
    const older = senderOn([]);
    await older.send('a');
    const newer = senderOn([]);
    await newer.send('b');
    await expect(older.send('c')).rejects.toMatchObject({ code: 'FENCED' });
    expect(await newer.send('d')).toMatchObject({ number: 1 });
  });
});
