/** Every reader of a caller's bytes. A new one joins here. */
import type { Target } from '../target.ts';
import { canonicalJsonTarget } from './canonical-json.ts';
import { codecTarget } from './codec.ts';
import { eventsTarget } from './events.ts';
import { keyHeaderTarget } from './key-header.ts';
import { requestsTarget } from './requests.ts';
import { storedRecordsTarget } from './stored-records.ts';

export const targets: readonly Target[] = [
  canonicalJsonTarget(),
  codecTarget(),
  eventsTarget(),
  keyHeaderTarget(),
  requestsTarget(),
  storedRecordsTarget(),
];
