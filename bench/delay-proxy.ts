/** A worker: passes bytes on to the port that it is given, each way late by half of the delay. */
import { connect, createServer, type Socket } from 'node:net';
import { parentPort, workerData } from 'node:worker_threads';

const { port, delayMs } = workerData as { readonly port: number; readonly delayMs: number };

function passOn(from: Socket, to: Socket): void {
  from.on('data', (bytes) => setTimeout(() => to.write(bytes), delayMs / 2));
  from.on('close', () => to.destroy());
  from.on('error', () => to.destroy());
}

const server = createServer((incoming) => {
  const outgoing = connect(port, '127.0.0.1');
  for (const socket of [incoming, outgoing]) socket.setNoDelay(true);
  passOn(incoming, outgoing);
  passOn(outgoing, incoming);
});
server.listen(0, '127.0.0.1', () => parentPort?.postMessage((server.address() as { port: number }).port));
