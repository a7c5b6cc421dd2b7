import { parseDictionary } from 'structured-headers';
import { json } from './retrying.ts';
import type { Answer, Received } from './scripted-server.ts';
import { type SequenceServer, sequenceServer } from './sequence-server.ts';

export interface NumberedApi {
  readonly server: SequenceServer;
  work(request: Received): Promise<Answer>;
  /** What was processed, in order. */
  payloads(): unknown[];
}

/** An API that processes numbered messages. */
export function numberedApi(): NumberedApi {
  const server = sequenceServer();
  return {
    server,
    payloads: () => server.done.map(({ payload }) => payload),
    async work({ headers, body }) {
      const header = parseDictionary(String(headers['idempotency-sequence']));
      const [producer, epoch, number] = ['producer', 'epoch', 'number'].map((name) => header.get(name)?.[0]);
      const place = { producer: String(producer), epoch: Number(epoch), number: Number(number) };
      const delivery = server.handle(place, JSON.parse(body.toString()));
      switch (delivery.outcome) {
        case 'answered':
          return json(201, delivery.answer);
        case 'gap':
          return json(409, { code: 'SEQUENCE_GAP', expected: delivery.expectedNumber });
        case 'fenced':
          return json(409, { code: 'FENCED' });
        case 'done':
          return json(410, { code: 'RESULT_UNAVAILABLE' });
        default:
          return json(422, { code: 'PAYLOAD_MISMATCH' });
      }
    },
  };
}
