/** Every reader of a caller's bytes. A new one joins here. */
import type { Target } from '../target.ts';
import { canonicalJsonTarget } from './canonical-json.ts';
import { eventsTarget } from './events.ts';
import { keyHeaderTarget } from './key-header.ts';
import { requestsTarget } from './requests.ts';

export const targets: readonly Target[] = [
  canonicalJsonTarget(),
  eventsTarget(),
  keyHeaderTarget(),
  requestsTarget(),
];
