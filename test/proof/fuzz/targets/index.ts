/** Every reader of a caller's bytes. A new one joins here. */
import type { Target } from '../target.ts';
import { canonicalJsonTarget } from './canonical-json.ts';
import { eventsTarget } from './events.ts';

export const targets: readonly Target[] = [canonicalJsonTarget(), eventsTarget()];
