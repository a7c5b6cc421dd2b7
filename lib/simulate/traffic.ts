/** The operations that callers intend, with their keys: the same for both lanes. */
import type { SimulationSettings } from './settings.ts';
import { type Draws, purpose } from './time/draws.ts';

/** One operation that a caller intends: a charge of an order. */
export interface Intent {
  /** From 0, in the order of arrival. */
  readonly number: number;
  readonly key: string;
  readonly order: number;
  readonly amount: number;
}

/** How many prices there are. */
const prices = 200;
/** A second charge is one of the latest orders. */
const latestOrders = 500;

/** @param nowMs epoch milliseconds of its arrival */
export function intentOf(settings: SimulationSettings, draws: Draws, number: number, nowMs: number): Intent {
  const isRepeated = number > 0 && draws.isTrue(purpose.repeatedOrder, settings.repeatedOrderRate, number);
  const back = 1 + Math.floor(draws.fraction(purpose.order, number) * Math.min(number, latestOrders));
  const order = isRepeated ? number - back : number;
  // Half of the second charges are of the same amount, so that their payloads are the same too.
  const isSameAmount = isRepeated && (draws.bits(purpose.order, number, 1) & 1) === 0;
  const amount = Math.floor(draws.fraction(purpose.amount, isSameAmount ? order : number) * prices) + 1;
  return { number, key: keyOf(settings, draws, number, order, nowMs), order, amount };
}

function keyOf(
  { key, keyBits }: SimulationSettings,
  draws: Draws,
  number: number,
  order: number,
  nowMs: number,
): string {
  switch (key) {
    case 'uuid-v7':
      return uuid(draws, number, '7', nowMs);
    case 'uuid-v4':
      return uuid(draws, number, '4');
    case 'short':
      return shortKey(draws, number, keyBits).toString(16);
    case 'order':
      return `order-${order}`;
    case 'constant':
      return 'charge';
  }
}

function shortKey(draws: Draws, number: number, keyBits: number): number {
  const low = draws.bits(purpose.key, number);
  if (keyBits <= 32) return Math.floor(low / 2 ** (32 - keyBits));
  return Math.floor(draws.fraction(purpose.keyLow, number) * 2 ** (keyBits - 32)) * 2 ** 32 + low;
}

function uuid(draws: Draws, number: number, version: '4' | '7', nowMs?: number): string {
  const word = (index: number) => draws.bits(purpose.key, number, index).toString(16).padStart(8, '0');
  const [a, b, c, d] = [word(0), word(1), word(2), word(3)];
  const head = nowMs === undefined ? a + b.slice(0, 4) : nowMs.toString(16).padStart(12, '0');
  return `${head.slice(0, 8)}-${head.slice(8)}-${version}${b.slice(5)}-a${c.slice(1, 4)}-${c.slice(4)}${d}`;
}

/** Whether two operations can have one key. */
export const keysCollide = ({ key, repeatedOrderRate }: SimulationSettings): boolean =>
  key === 'short' || key === 'constant' || (key === 'order' && repeatedOrderRate > 0);

/** Milliseconds from one arrival to the next: bursts arrive at random (Poisson), their members together. */
export function gapMs(
  { arrivalsPerSecond, burstSize }: SimulationSettings,
  draws: Draws,
  number: number,
): number {
  if (number % burstSize !== 0) return 0;
  return (-Math.log(1 - draws.fraction(purpose.arrival, number)) * 1000 * burstSize) / arrivalsPerSecond;
}
