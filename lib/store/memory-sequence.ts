/** Numbered senders in memory: their conditions are those of the item on DynamoDB. */
import { cleanupAtSeconds } from '../record.ts';
import type { MemoryPlace } from './memory-claims.ts';
import { keptAnswers, metByClaim, metByOwner, neverMs, nextNumber, placed, type Sender } from './sequence.ts';
import type { ClaimRecord, Clock, SequencePlace } from './store.ts';

interface MemorySender extends Sender {
  /** When the sender is forgotten, unless it is heard of before. */
  readonly endsAtMs: number;
}

/**
 * Makes the places of numbered senders.
 *
 * @param claims all records of the store. Those of senders lie there as well, so that they are listed with the others
 */
export function memorySequences(
  claims: Map<string, ClaimRecord>,
  clock: Clock,
): (place: SequencePlace) => MemoryPlace {
  const senders = new Map<string, MemorySender>();
  const at = (sender: string, epoch: number, number: number): string =>
    JSON.stringify([sender, epoch, number]);
  const forget = (name: string, { epoch, last = -1 }: Sender): void => {
    for (let number = last + 1; number >= 0 && number > last - keptAnswers; number--) {
      claims.delete(at(name, epoch, number));
    }
    senders.delete(name);
  };
  const senderNamed = (name: string): MemorySender | undefined => {
    const sender = senders.get(name);
    if (sender && cleanupAtSeconds(sender.endsAtMs) * 1000 <= clock.now()) forget(name, sender);
    return senders.get(name);
  };

  return (place) => {
    const { sender: name, epoch, number, startsAnywhere } = place;
    const here = at(name, epoch, number);
    const sender = () => senderNamed(name);

    return {
      own: () => (sender()?.epoch === epoch ? claims.get(here) : undefined),

      isFree(_, nowMs) {
        const found = sender();
        if (found === undefined) return number === 0 || startsAnywhere;
        const inFlight = found.recordOf(nextNumber(found));
        if (epoch > found.epoch) return number === 0 && !(inFlight && inFlight.leaseUntilMs > nowMs);
        if (epoch < found.epoch || number !== nextNumber(found)) return false;
        return inFlight === undefined || (inFlight.endsAtMs <= nowMs && inFlight.leaseUntilMs <= nowMs);
      },

      put(record) {
        // A completed number that is put again has another answer, and nothing else changes.
        if (record.endsAtMs === neverMs) {
          claims.set(here, record);
          return;
        }
        const before = sender();
        const isNew = before === undefined || before.epoch < epoch;
        if (before && isNew) forget(name, before);
        const beginning = number === 0 ? undefined : number - 1;
        const isCompleted = record.status === 'COMPLETED';
        claims.set(here, isCompleted ? { ...record, endsAtMs: neverMs } : record);
        if (isCompleted) claims.delete(at(name, epoch, number - keptAnswers));
        // What is given back does not shorten the memory of its sender.
        const isHeardOf = record.status !== 'RELEASED' || before === undefined;
        senders.set(name, {
          epoch,
          last: isCompleted ? number : isNew ? beginning : before.last,
          leaseUntilMs: record.leaseUntilMs,
          endsAtMs: isHeardOf ? record.endsAtMs : before.endsAtMs,
          recordOf: (of) => claims.get(at(name, epoch, of)),
        });
      },

      metByOwner: (pk) => metByOwner(placed(place, pk, sender()), pk),
      metByClaim: (pk) => metByClaim(placed(place, pk, sender())),
    };
  };
}
