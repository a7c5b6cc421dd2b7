import type { Delivery, SequenceNumber } from '../../lib/client.ts';

interface Item {
  epoch: number;
  last: number;
  answers: { number: number; payload: string; answer: string }[];
}

export interface SequenceServer {
  /** Everything that was processed, in order. */
  readonly done: readonly { readonly place: string; readonly payload: unknown }[];
  handle(place: SequenceNumber, payload: unknown): Delivery<string>;
  /** Forgets all senders, as after a long silence; what was processed stays. */
  forget(): void;
  /** Goes back to how it was when `done` had this many, as a table that is restored from a backup, together with its effects. */
  restore(count: number): void;
}

/** What a server with numbered operations says, by the rules that `SequencePlace` lists. It is done at once, so it is never busy. */
export function sequenceServer(): SequenceServer {
  let items = new Map<string, Item>();
  const done: { place: string; payload: unknown }[] = [];
  const backups = [new Map<string, Item>()];

  function process(item: Item, { epoch, number }: SequenceNumber, payload: unknown): Delivery<string> {
    const answer = `answer ${done.length}`;
    if (epoch > item.epoch) item.answers = [];
    item.epoch = epoch;
    item.last = number;
    item.answers = [...item.answers, { number, payload: JSON.stringify(payload), answer }].slice(-5);
    done.push({ place: `${epoch}:${number}`, payload });
    backups[done.length] = structuredClone(items);
    return { outcome: 'answered', answer };
  }

  return {
    done,
    handle(place, payload) {
      const { producer, epoch, number } = place;
      const item = items.get(producer) ?? { epoch: -1, last: -1, answers: [] };
      if (epoch < item.epoch) return { outcome: 'fenced' };
      if (epoch > item.epoch) {
        if (number > 0) return { outcome: 'gap', expectedNumber: 0, retryAfterMs: 1000 };
        items.set(producer, item);
        return process(item, place, payload);
      }
      if (number === item.last + 1) return process(item, place, payload);
      if (number > item.last) return { outcome: 'gap', expectedNumber: item.last + 1, retryAfterMs: 1000 };
      const kept = item.answers.find((one) => one.number === number);
      if (kept === undefined) return { outcome: 'done' };
      if (kept.payload !== JSON.stringify(payload)) return { outcome: 'mismatch' };
      return { outcome: 'answered', answer: kept.answer };
    },
    forget() {
      items = new Map();
    },
    restore(count) {
      items = structuredClone(backups[count] ?? new Map());
      done.length = count;
    },
  };
}
