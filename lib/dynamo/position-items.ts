/** The item of a lane: its position, and the attempt in flight. The lane's records that have come are read from it as one claim. */
import { attribute, cleanupAtSeconds, laneAttribute, positionSortKey } from '../record.ts';
import {
  type Advance,
  type ClaimRecord,
  type Completion,
  type LanePlace,
  type NewClaim,
  neverMs,
  type Return,
  type Takeover,
} from '../store/index.ts';
import { assignment, type Item, type Items, number, type Owned } from './items.ts';

export type PositionItems = ReturnType<typeof positionItemsOf>;

/** @param reach the last position that an attempt of the window was given, as far as it has been seen */
export function positionItemsOf(items: Items, { lane, upTo }: LanePlace, reach: () => string | undefined) {
  const { names } = items;
  const keyOf = (pk: string, sk: string = positionSortKey): Item => items.keyOf(pk, sk);
  const conditional = { ...items.conditional, Key: keyOf(lane) };
  const behind = '(attribute_not_exists(#position) OR #position < :upTo)';
  const free = `attribute_not_exists(#pk) OR (${behind} AND (#status = :completed OR (#endsAt <= :now AND #leaseUntil <= :now)))`;
  const freeNames = {
    ...{ '#pk': names.pk, '#position': laneAttribute.position, '#status': attribute.status },
    ...{ '#endsAt': attribute.endsAt, '#leaseUntil': attribute.leaseUntil },
  };
  const freeValues = (nowMs: number): Item => ({
    ...{ ':upTo': { S: upTo }, ':completed': { S: 'COMPLETED' }, ':now': number(nowMs) },
  });
  const cleanup = (endsAtMs: number): Item => ({ [names.ttl]: number(cleanupAtSeconds(endsAtMs)) });

  const attempted = (claim: NewClaim): Item => ({
    [attribute.status]: { S: 'IN_PROGRESS' },
    [attribute.owner]: { S: claim.owner },
    [attribute.window]: { S: claim.owner },
    [attribute.attempt]: number(1),
    [attribute.leaseUntil]: number(claim.leaseUntilMs),
    [attribute.endsAt]: number(claim.endsAtMs),
    [attribute.createdAt]: number(claim.nowMs),
    [laneAttribute.reach]: { S: upTo },
    ...cleanup(claim.endsAtMs),
  });
  const completed = ({ completedAtMs, endsAtMs }: Completion): Item => ({
    [attribute.status]: { S: 'COMPLETED' },
    [attribute.completedAt]: number(completedAtMs),
    [attribute.endsAt]: number(endsAtMs),
    [laneAttribute.position]: { S: upTo },
    ...cleanup(endsAtMs),
  });

  /** An update of what is free, or of nothing. */
  const claimed = (attributes: Item, nowMs: number) => {
    const set = assignment(attributes);
    return {
      ...conditional,
      ConditionExpression: free,
      UpdateExpression: `SET ${set.expression}`,
      ExpressionAttributeNames: { ...set.names, ...freeNames },
      ExpressionAttributeValues: { ...set.values, ...freeValues(nowMs) },
    };
  };
  /** An update by the owner of the attempt in flight. */
  const owned = (owner: string, attributes: Item) => {
    const set = assignment(attributes);
    return {
      ...conditional,
      ConditionExpression: items.ifMine,
      UpdateExpression: `SET ${set.expression}`,
      ExpressionAttributeNames: { ...set.names, ...items.mine },
      ExpressionAttributeValues: { ...set.values, ...items.ownedBy(owner) },
    };
  };

  function readClaim(item: Item): ClaimRecord {
    const position = item[laneAttribute.position]?.S;
    const record = { ...items.readClaim(item), ...(position !== undefined && { position }) };
    const { answer: _, completedAtMs = record.createdAtMs, ...claim } = record;
    if (position !== undefined && position >= upTo) {
      const answer = { kind: 'unavailable', reason: 'forgotten' } as const;
      return { ...claim, status: 'COMPLETED', completedAtMs, endsAtMs: neverMs, answer };
    }
    // Nothing of the lane is in flight: it is anybody's.
    return record.status === 'COMPLETED' ? { ...claim, status: 'RELEASED', endsAtMs: 0 } : claim;
  }

  return {
    ...items,
    keyOf,
    readClaim,

    claim: (claim: NewClaim) => claimed(attempted(claim), claim.nowMs),

    completedClaim: (claim: NewClaim, completion: Completion) =>
      claimed({ ...attempted(claim), ...completed(completion) }, claim.nowMs),

    takeover({ owner, previousOwner, attempt, leaseUntilMs }: Takeover) {
      const seen = reach();
      const { ConditionExpression, ExpressionAttributeNames, ExpressionAttributeValues, ...update } = owned(
        previousOwner,
        {
          [attribute.leaseUntil]: number(leaseUntilMs),
          [attribute.attempt]: number(attempt),
          [laneAttribute.reach]: { S: seen !== undefined && seen > upTo ? seen : upTo },
        },
      );
      return {
        ...update,
        UpdateExpression: `${update.UpdateExpression}, #owner = :newOwner`,
        // The attempt before may still have moved the position, past all that has come.
        ConditionExpression: `${ConditionExpression} AND ${behind}`,
        ExpressionAttributeNames: { ...ExpressionAttributeNames, '#position': laneAttribute.position },
        ExpressionAttributeValues: {
          ...ExpressionAttributeValues,
          ':newOwner': { S: owner },
          ':upTo': { S: upTo },
        },
      };
    },

    /** Moves the position. The window goes on, for the next attempt, while it is behind what an attempt was given. */
    completion(completion: Completion) {
      const { [attribute.status]: status, ...rest } = completed(completion);
      const isWindowOver = (reach() ?? '') <= upTo;
      return owned(
        completion.owner,
        isWindowOver
          ? { ...rest, [attribute.status]: status! }
          : { ...rest, [attribute.leaseUntil]: number(0) },
      );
    },

    advance(advance: Advance, nowMs: number, endsAtMs: number) {
      const { owner, upTo: position } = advance;
      const moved = { [laneAttribute.position]: { S: position }, ...cleanup(endsAtMs) };
      if (advance.hasClaim) {
        const update = owned(owner, moved);
        return {
          ...update,
          ConditionExpression: `${update.ConditionExpression} AND (attribute_not_exists(#position) OR #position < :moved)`,
          ExpressionAttributeNames: {
            ...update.ExpressionAttributeNames,
            '#position': laneAttribute.position,
          },
          ExpressionAttributeValues: { ...update.ExpressionAttributeValues, ':moved': { S: position } },
        };
      }
      const { from } = advance;
      const set = assignment({
        [attribute.status]: { S: 'COMPLETED' },
        [attribute.owner]: { S: owner },
        [attribute.window]: { S: owner },
        [attribute.attempt]: number(1),
        [attribute.leaseUntil]: number(0),
        [attribute.endsAt]: number(endsAtMs),
        [attribute.createdAt]: number(nowMs),
        [attribute.completedAt]: number(nowMs),
        ...moved,
      });
      return {
        ...conditional,
        ConditionExpression: `${from === undefined ? 'attribute_not_exists(#position)' : '#position = :from'} AND (#status <> :inProgress OR #leaseUntil <= :now)`,
        UpdateExpression: `SET ${set.expression}`,
        ExpressionAttributeNames: {
          ...set.names,
          ...{ '#position': laneAttribute.position, '#status': attribute.status },
          '#leaseUntil': attribute.leaseUntil,
        },
        ExpressionAttributeValues: {
          ...set.values,
          ':inProgress': { S: 'IN_PROGRESS' },
          ':now': number(nowMs),
          ...(from !== undefined && { ':from': { S: from } }),
        } as Item,
      };
    },

    release({ owner, askedAtMs }: Return) {
      const update = claimed(
        {
          [attribute.status]: { S: 'RELEASED' },
          [attribute.owner]: { S: owner },
          [attribute.window]: { S: owner },
          [attribute.attempt]: number(1),
          [attribute.leaseUntil]: number(0),
          [attribute.createdAt]: number(askedAtMs),
          [attribute.endsAt]: number(askedAtMs + 1),
        },
        askedAtMs,
      );
      return {
        ...update,
        // The position stays for as long as it would have.
        UpdateExpression: `${update.UpdateExpression}, #ttl = if_not_exists(#ttl, :ttl)`,
        ConditionExpression: `${update.ConditionExpression} OR (${items.ifMine})`,
        ExpressionAttributeNames: { ...update.ExpressionAttributeNames, ...items.mine, '#ttl': names.ttl },
        ExpressionAttributeValues: {
          ...update.ExpressionAttributeValues,
          ...items.ownedBy(owner),
          ':ttl': number(cleanupAtSeconds(askedAtMs + 1)),
        } as Item,
      };
    },

    leaseEnd: ({ owner }: Owned) => owned(owner, { [attribute.leaseUntil]: number(0) }),

    /** The record that stopped its former owner: where nothing is in flight, another one has come and gone. */
    readOvertaken(item: Item, owner: string): ClaimRecord {
      const record = readClaim(item);
      if (record.status !== 'RELEASED' || record.owner === owner) return record;
      return { ...record, status: 'IN_PROGRESS', leaseUntilMs: 0, endsAtMs: neverMs };
    },

    positionIn: (item: Item): string | undefined => item[laneAttribute.position]?.S,
    reachIn: (item: Item): string | undefined => item[laneAttribute.reach]?.S,
  };
}
