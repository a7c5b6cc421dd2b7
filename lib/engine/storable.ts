/**
 * What of a value cannot be stored. A stored answer must be read back as the first caller got it, and nothing of it may
 * show in a log: the place is told, and the kind of what stands there, never what it holds.
 */
import { classOf, isFunction, isPlain, isThenable, kindOf, memberPath } from '../validate.ts';
import { kinds } from './tagged.ts';

/**
 * Where in `value` something cannot be stored, and what it is: `$.total is a Money`; `undefined` where nothing is known to
 * be in the way.
 */
export function problemIn(value: unknown): string | undefined {
  const found = look(value, '$', new Set());
  return found === undefined || found.length <= maxLength
    ? found
    : `${found.slice(0, maxLength / 2)}…${found.slice(1 - maxLength / 2)}`;
}

const maxLength = 300;

function look(value: unknown, path: string, met: Set<object>): string | undefined {
  if (typeof value === 'function' || typeof value === 'symbol') return `${path} is a ${typeof value}`;
  if (typeof value !== 'object' || value === null || met.has(value)) return undefined;
  met.add(value);
  if (ArrayBuffer.isView(value) || value instanceof ArrayBuffer) return undefined;
  if (isThenable(value)) return `${path} is a promise`;
  const kind = Object.prototype.toString.call(value).slice(8, -1);
  const isOfItsKind = kinds.has(kind) ? nameOf(kind) === classOf(value) : isPlain(value);
  if (!isOfItsKind) return `${path} is ${kindOf(value)}`;
  switch (kind) {
    case 'Map':
      for (const [name, member] of value as Map<unknown, unknown>) {
        const found = look(name, `${path}.keys()`, met) ?? look(member, `${path}.get(…)`, met);
        if (found !== undefined) return found;
      }
      break;
    case 'Set':
      for (const member of value as Set<unknown>) {
        const found = look(member, `${path}.values()`, met);
        if (found !== undefined) return found;
      }
      break;
    default:
      if (kind === 'Array' || !kinds.has(kind)) {
        return lookIntoMembers(value as Record<string, unknown>, path, met);
      }
  }
  if (!boxed.has(kind) && Object.keys(value).length > 0)
    return `${path} is a ${kind} with members of its own`;
  return undefined;
}

function lookIntoMembers(value: Record<string, unknown>, path: string, met: Set<object>): string | undefined {
  if (isFunction(value.toJSON)) return `${path} has a function toJSON`;
  const isEnumerable = (name: symbol) => Object.prototype.propertyIsEnumerable.call(value, name);
  if (Object.getOwnPropertySymbols(value).some(isEnumerable))
    return `${path} has a member that is named by a symbol`;
  const isArray = Array.isArray(value);
  for (const name of Object.keys(value)) {
    const place = isArray && /^\d+$/.test(name) ? `${path}[${name}]` : `${path}${memberPath(name)}`;
    let member: unknown;
    try {
      member = value[name];
    } catch {
      return `${place} is a getter that throws`;
    }
    const found = look(member, place, met);
    if (found !== undefined) return found;
  }
  return undefined;
}

const boxed = new Set(['Number', 'String', 'Boolean', 'BigInt']);

/** `Temporal.Instant`'s class is called `Instant`. */
const nameOf = (kind: string): string => kind.slice(kind.lastIndexOf('.') + 1);
