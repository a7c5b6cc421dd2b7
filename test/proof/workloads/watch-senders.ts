import { senderChanges } from '../auditors/numbered.ts';
import { senderItem } from '../simulation/sender-item.ts';
import type { World } from '../simulation/world.ts';

/** Writes down what becomes of the items of numbered senders. */
export function watchSenders({ database, history, time }: World): void {
  database.watch(({ key, before, after }, sender) => {
    if ((key.sk as { S?: string }).S !== 'sequence') return;
    history.facts(senderChanges).push({
      atMs: time.nowMs,
      sender: (key.pk as { S?: string }).S ?? '',
      before: before && senderItem(before),
      after: after && senderItem(after),
      sentAtClockMs: sender?.sentAtClockMs ?? time.nowMs,
      call: sender?.call,
    });
  });
}
