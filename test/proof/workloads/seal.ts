/** A seal that binds what it seals to its record, as KMS does, and that fails at times. */
import { Buffer } from 'node:buffer';
import type { Seal } from '../../../lib/index.ts';
import { failedSeals } from '../auditors/http.ts';
import { invocation } from '../simulation/sandbox.ts';
import type { World } from '../simulation/world.ts';

const nonceBytes = 36;

export function sealIn(world: World): Seal {
  world.database.openBody = (sealed, pk) => Buffer.from(opened(sealed, pk)).toString();
  const times = new Map<string, number>();
  const fault = (kind: 'seal fails' | 'open fails') => {
    const { call, sandbox } = invocation.getStore() ?? {};
    const who = `${call?.id ?? sandbox?.name}: ${kind === 'seal fails' ? 'seals' : 'opens'}`;
    const time = (times.get(who) ?? 0) + 1;
    times.set(who, time);
    if (!world.fault(`${who}, ${time}`, kind)) return;
    if (kind === 'seal fails') world.history.facts(failedSeals).push(call);
    throw new Error('The key service did not answer.');
  };
  return {
    async seal(plain, { operation }) {
      fault('seal fails');
      world.history.reach('something is sealed');
      // Two seals of one thing differ.
      const nonce = Buffer.from(world.chance.uuid('nonce'));
      return Buffer.concat([nonce, mixed(plain, nonce, operation)]);
    },
    async open(sealed, { operation }) {
      fault('open fails');
      world.history.reach('something is opened');
      return opened(sealed, operation);
    },
  };
}

const opened = (sealed: Uint8Array, operation: string): Uint8Array =>
  mixed(sealed.subarray(nonceBytes), Buffer.from(sealed.subarray(0, nonceBytes)), operation);

/** What was sealed for one record opens to nonsense for another. */
function mixed(bytes: Uint8Array, nonce: Buffer, operation: string): Uint8Array {
  const pad = Buffer.from(nonce.toString() + operation);
  return Uint8Array.from(bytes, (byte, at) => byte ^ (pad[at % pad.length] ?? 0));
}
