/**
 * The item of a sender that numbers its operations, the conditions under which it changes, and what it says of one place.
 *
 * It has six records, as maps: that of number `n` is `record<n mod 6>`. So a claim of the next number replaces the record of the sixth
 * number before it, and the last five that are done stay. A claim, a completion and a takeover are one update each, without a read.
 * Of what is done, a record keeps as little as it can: each request is priced by the whole item.
 */
import { attribute, cleanupAtSeconds, sequenceAttribute, sequenceSortKey } from '../record.ts';
import {
  type AttributeValue,
  type ClaimRecord,
  type Completion,
  keptAnswers,
  type NewClaim,
  type Placed,
  placed,
  type Return,
  type Sender,
  type SequencePlace,
  type Takeover,
} from '../store/index.ts';
import {
  type AnswerInItems,
  answerAttributes,
  answerNames,
  type Item,
  numberIn,
  number as numeric,
  type Owned,
} from './items.ts';
import type { Parts } from './store.ts';

const records = keptAnswers + 1;
const recordOf = (number: number): string => `${sequenceAttribute.record}${number % records}`;

const uuid = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

/** The engine's tokens are UUIDs. As bytes, six of them leave the item of a usual sender in one write unit. */
const token = (text: string): AttributeValue =>
  uuid.test(text) ? { B: Buffer.from(text.replaceAll('-', ''), 'hex') } : { S: text };

function readToken(value: AttributeValue | undefined): string | undefined {
  if (value?.B === undefined) return value?.S;
  const hex = Buffer.from(value.B).toString('hex');
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join('-');
}

/** A part of a condition or an update, with the placeholders that it uses. */
interface Expression {
  readonly text: string;
  readonly names: Readonly<Record<string, string>>;
  readonly values?: Item;
}

export type SequenceItems = ReturnType<typeof sequenceItemsOf>;

/** Every write is one `UpdateItem` with a condition, and brings back the item that stopped it. */
export function sequenceItemsOf({ tableName, names, items }: Parts, place: SequencePlace) {
  const { epoch, number, startsAnywhere } = place;
  const key = items.keyOf(place.sender, sequenceSortKey);
  const isFirst = number === 0;

  const ofItem = {
    '#epoch': sequenceAttribute.epoch,
    '#last': sequenceAttribute.last,
    '#record': recordOf(number),
  } as const;
  /** The number is the one in flight, or the next one. */
  const isNext = isFirst ? 'attribute_not_exists(#last)' : '#last = :before';
  const ofPlace: Item = {
    ':epoch': numeric(epoch),
    ...(!isFirst && { ':before': numeric(number - 1) }),
  };

  /**
   * The epoch and the count are asked for as well as the owner: an owner is unique, but a late request must find its own number in flight
   * in its own epoch, whatever lies in the record that this number shares with others.
   */
  const ifMine = (owner: string): Expression => ({
    text: `#epoch = :epoch AND ${isNext} AND #record.#owner = :owner AND #record.#status = :inProgress`,
    names: { ...ofItem, '#owner': attribute.owner, '#status': attribute.status },
    values: { ...ofPlace, ':owner': token(owner), ':inProgress': { S: 'IN_PROGRESS' } },
  });

  /**
   * `endsAt` is there only while a number is in flight or given back. A late claim fails: its number is done, or in flight in a window that
   * ends after the claim was asked for, or given back until just after that moment. For keys that is the same.
   *
   * A higher epoch begins with number 0, and waits for the lease of an older one's attempt, though not for its window: it will not take
   * that attempt over. Whatever the older attempt writes afterwards fails on the epoch.
   */
  const ifClaimable = (nowMs: number): Expression => {
    const isFree = 'attribute_not_exists(#endsAt) OR (#endsAt <= :now AND #leaseUntil <= :now)';
    const inTurn = `#epoch = :epoch AND ${isNext} AND (${isFree})`;
    const anew = '#epoch < :epoch AND (attribute_not_exists(#endsAt) OR #leaseUntil <= :now)';
    const mayBegin = isFirst || startsAnywhere;
    const ways = [
      ...(mayBegin ? ['attribute_not_exists(#pk)'] : []),
      `(${inTurn})`,
      ...(isFirst ? [`(${anew})`] : []),
    ];
    return {
      text: ways.join(' OR '),
      names: {
        ...{ '#epoch': sequenceAttribute.epoch, '#last': sequenceAttribute.last },
        ...{ '#endsAt': attribute.endsAt, '#leaseUntil': attribute.leaseUntil },
        ...(mayBegin && { '#pk': names.pk }),
      },
      values: { ...ofPlace, ':now': numeric(nowMs) },
    };
  };

  const update = (condition: Expression, change: Expression) => ({
    TableName: tableName,
    Key: key,
    ConditionExpression: condition.text,
    UpdateExpression: change.text,
    ExpressionAttributeNames: { ...condition.names, ...change.names },
    ExpressionAttributeValues: { ...condition.values, ...change.values },
    ReturnValuesOnConditionCheckFailure: 'ALL_OLD' as const,
  });

  /** An epoch that begins forgets what the one before has done. */
  const others = isFirst ? Array.from({ length: records - 1 }, (_, at) => recordOf(at + 1)) : [];
  const othersNames = Object.fromEntries(others.map((name, at) => [`#other${at}`, name]));

  /**
   * Puts a record in place of what the item has of this number, or begins the item.
   *
   * @param isDone whether the record is completed at once
   */
  const begin = (record: Item, leaseUntilMs: number, endsAtMs: number, isDone: boolean): Expression => {
    const last = isDone ? ':number' : isFirst ? undefined : ':before';
    const sets = [
      '#epoch = :epoch',
      '#record = :record',
      '#leaseUntil = :leaseUntil',
      '#ttl = :ttl',
      ...(isDone ? [] : ['#endsAt = :endsAt']),
      ...(last ? [`#last = ${last}`] : []),
    ];
    const removed = [...(isDone ? ['#endsAt'] : []), ...(last ? [] : ['#last']), ...Object.keys(othersNames)];
    return {
      text: `SET ${sets.join(', ')}${removed.length > 0 ? ` REMOVE ${removed.join(', ')}` : ''}`,
      names: {
        ...ofItem,
        ...othersNames,
        ...{ '#leaseUntil': attribute.leaseUntil, '#endsAt': attribute.endsAt, '#ttl': names.ttl },
      },
      values: {
        ...ofPlace,
        ':record': { M: record } as AttributeValue,
        ':leaseUntil': numeric(leaseUntilMs),
        ':ttl': numeric(cleanupAtSeconds(endsAtMs)),
        ...(isDone ? { ':number': numeric(number) } : { ':endsAt': numeric(endsAtMs) }),
      },
    };
  };

  /** Where `window` is absent it is the owner, and the attempt is the first one. */
  const newRecord = ({ owner, fingerprint, rawKey }: NewClaim): Item => ({
    [attribute.owner]: token(owner),
    ...(fingerprint !== undefined && { [attribute.fingerprint]: { S: fingerprint } }),
    ...(rawKey !== undefined && { [attribute.key]: { S: rawKey } }),
  });

  /** `SET` of attributes of the record, and `REMOVE` of others of it. */
  const within = (attributes: Item, removed: readonly string[]) => {
    const set = Object.keys(attributes);
    return {
      sets: set.map((name) => `#record.#${name} = :${name}`).join(', '),
      removes: removed.map((name) => `#record.#${name}`).join(', '),
      names: Object.fromEntries([...set, ...removed].map((name) => [`#${name}`, name])),
      values: Object.fromEntries(set.map((name) => [`:${name}`, attributes[name] as AttributeValue])),
    };
  };

  function readSender(item: Item, pk: string): Sender {
    const last = item[sequenceAttribute.last]?.N;
    const sender: Omit<Sender, 'recordOf'> = {
      epoch: numberIn(item, sequenceAttribute.epoch),
      last: last === undefined ? undefined : Number(last),
      leaseUntilMs: numberIn(item, attribute.leaseUntil),
    };
    const next = last === undefined ? 0 : Number(last) + 1;
    return {
      ...sender,
      recordOf(of) {
        const record = item[recordOf(of)]?.M;
        const status = record?.[attribute.status]?.S;
        // What shares the place with the next number and is done is the number six before it.
        if (record === undefined || (status !== undefined) !== (of === next)) return undefined;
        const owner = readToken(record[attribute.owner]) ?? '';
        const window = readToken(record[attribute.window]) ?? owner;
        const fingerprint = record[attribute.fingerprint]?.S;
        return {
          pk,
          status: status === undefined ? 'COMPLETED' : status === 'RELEASED' ? 'RELEASED' : 'IN_PROGRESS',
          owner,
          window,
          attempt: Number(record[attribute.attempt]?.N ?? 1),
          leaseUntilMs: sender.leaseUntilMs,
          endsAtMs: numberIn(item, attribute.endsAt),
          createdAtMs: numberIn(record, attribute.createdAt),
          ...(fingerprint !== undefined && { fingerprint }),
          ...(status === undefined && {
            completedAtMs: numberIn(record, attribute.completedAt),
            answer: items.readAnswer(record, pk, window),
          }),
        } satisfies ClaimRecord;
      },
    };
  }

  return {
    key,

    claim: (claim: NewClaim) =>
      update(
        ifClaimable(claim.nowMs),
        begin(
          {
            ...newRecord(claim),
            [attribute.status]: { S: 'IN_PROGRESS' },
            [attribute.createdAt]: numeric(claim.nowMs),
            ...(claim.rawInput !== undefined && { [attribute.input]: { B: claim.rawInput } }),
          } as Item,
          claim.leaseUntilMs,
          claim.endsAtMs,
          false,
        ),
      ),

    completedClaim: (claim: NewClaim, { completedAtMs, endsAtMs }: Completion, answer: AnswerInItems) =>
      update(
        ifClaimable(claim.nowMs),
        begin(
          {
            ...newRecord(claim),
            [attribute.completedAt]: numeric(completedAtMs),
            ...answerAttributes(answer),
          },
          claim.leaseUntilMs,
          endsAtMs,
          true,
        ),
      ),

    takeover: ({ owner, previousOwner, attempt, leaseUntilMs }: Takeover) =>
      update(ifMine(previousOwner), {
        text: 'SET #record.#window = if_not_exists(#record.#window, #record.#owner), #record.#owner = :newOwner, #record.#attempt = :attempt, #leaseUntil = :leaseUntil',
        names: {
          '#window': attribute.window,
          '#attempt': attribute.attempt,
          '#leaseUntil': attribute.leaseUntil,
        },
        values: {
          ':newOwner': token(owner),
          ':attempt': numeric(attempt),
          ':leaseUntil': numeric(leaseUntilMs),
        },
      }),

    completion({ owner, completedAtMs, endsAtMs }: Completion, answer: AnswerInItems) {
      const change = within(
        { [attribute.completedAt]: numeric(completedAtMs), ...answerAttributes(answer) },
        [
          attribute.status,
          attribute.createdAt,
          // Nobody finishes it any more.
          attribute.input,
        ],
      );
      return update(ifMine(owner), {
        text: `SET #last = :number, #ttl = :ttl, ${change.sets} REMOVE #endsAt, ${change.removes}`,
        names: { ...change.names, '#endsAt': attribute.endsAt, '#ttl': names.ttl },
        values: {
          ...change.values,
          ':number': numeric(number),
          ':ttl': numeric(cleanupAtSeconds(endsAtMs)),
        },
      });
    },

    amendment({ owner }: Completion, answer: AnswerInItems) {
      const attributes = answerAttributes(answer);
      const change = within(
        attributes,
        answerNames.filter((name) => !(name in attributes)),
      );
      const condition: Expression = {
        text: '#epoch = :epoch AND #last BETWEEN :number AND :newest AND #record.#owner = :owner AND attribute_not_exists(#record.#status)',
        names: { ...ofItem, '#owner': attribute.owner, '#status': attribute.status },
        values: {
          ':epoch': numeric(epoch),
          ':number': numeric(number),
          ':newest': numeric(number + keptAnswers - 1),
          ':owner': token(owner),
        },
      };
      return update(condition, {
        text: `SET ${change.sets} REMOVE ${change.removes}`,
        names: change.names,
        values: change.values,
      });
    },

    /** The sender stays for as long as it would have: what is given back must not shorten its memory. */
    release({ owner, askedAtMs }: Return) {
      const [claimable, mine] = [ifClaimable(askedAtMs), ifMine(owner)];
      const record = {
        [attribute.status]: { S: 'RELEASED' },
        [attribute.owner]: token(owner),
        [attribute.createdAt]: numeric(askedAtMs),
      } as Item;
      const change = begin(record, 0, askedAtMs + 1, false);
      return update(
        {
          text: `${claimable.text} OR (${mine.text})`,
          names: { ...claimable.names, ...mine.names },
          values: { ...claimable.values, ...mine.values },
        },
        { ...change, text: change.text.replace('#ttl = :ttl', '#ttl = if_not_exists(#ttl, :ttl)') },
      );
    },

    leaseEnd: ({ owner }: Owned) =>
      update(ifMine(owner), {
        text: 'SET #leaseUntil = :over',
        names: { '#leaseUntil': attribute.leaseUntil },
        values: { ':over': numeric(0) },
      }),

    /** Checks that the number is in flight, and the owner's. It changes nothing. */
    ownership({ owner }: Owned) {
      const { text, names: used, values = {} } = ifMine(owner);
      return {
        TableName: tableName,
        Key: key,
        ConditionExpression: text,
        ExpressionAttributeNames: used,
        ExpressionAttributeValues: values,
        ReturnValuesOnConditionCheckFailure: 'ALL_OLD' as const,
      };
    },

    place: (pk: string, item: Item | undefined): Placed => placed(place, pk, item && readSender(item, pk)),
  };
}
