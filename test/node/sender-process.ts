/** A process that sends numbered messages until it is killed: `origin file from to`. */
import { numberedSender, overHttp } from '../../lib/client.ts';
import { fileStorage } from '../../lib/client-node.ts';

const [origin = '', file = '', from, to] = process.argv.slice(2);
const sender = numberedSender({
  producer: 'till-7',
  storage: fileStorage(file),
  send: overHttp<number>(origin),
  baseDelayMs: 1,
});
for (let payload = Number(from); payload < Number(to); payload++) await sender.send(payload);
if ((await sender.resume()) > 0) process.exitCode = 1;
