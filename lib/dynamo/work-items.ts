/** Items and conditions of steps, staged messages and transactions, which a guard without them does not carry. */
import {
  attribute,
  cleanupAtSeconds,
  messageCleanupAtSeconds,
  messageSortKey,
  type StepStatus,
  stepSortKey,
  stepSortKeyPrefix,
} from '../record.ts';
import type {
  AttributeValue,
  ClaimRecord,
  Completion,
  NewClaim,
  NewStep,
  StagedMessage,
  StepRecord,
  TransactionRequest,
} from '../store/index.ts';
import {
  type AnswerInItems,
  assignment,
  type Item,
  type Items,
  number,
  numberIn,
  type Owned,
  readUnavailable,
  unavailableAttributes,
} from './items.ts';

export type WorkItems = ReturnType<typeof workItemsOf>;

/**
 * The claim's part of a transaction. Its types are not the SDK's: declarations that an entry reaches compile where the SDK is
 * not installed.
 */
type ClaimPart =
  | { readonly Put: ReturnType<Items['completedClaim']> }
  | { readonly Update: ReturnType<Items['upsert']> };

type ConditionCheck = Omit<ReturnType<Items['upsert']>, 'UpdateExpression'>;

/** The same as {@link Items}, with those. */
export function workItemsOf(items: Items) {
  const { names, keyOf, conditional, mine, ifMine, ownedBy, update } = items;
  const ifAbsent = {
    ConditionExpression: 'attribute_not_exists(#pk)',
    ExpressionAttributeNames: { '#pk': names.pk },
  } as const;

  return {
    ...items,

    /** Checks that the claim is still the owner's. It changes nothing. */
    ownership: ({ pk, owner }: Owned): ConditionCheck => ({
      ...conditional,
      Key: keyOf(pk),
      ConditionExpression: ifMine,
      ExpressionAttributeNames: mine,
      ExpressionAttributeValues: ownedBy(owner),
    }),

    /** Puts a claim that is completed at once. @param isProven whether the table is known to take the record's keys */
    recorded(claim: NewClaim, completion: Completion, answer: AnswerInItems, isProven: boolean): ClaimPart {
      const put = items.completedClaim(claim, completion, answer);
      return isProven ? { Put: put } : { Update: items.upsert(put) };
    },

    /**
     * The record that the claim's part of a transaction met.
     *
     * @param _isRepeat whether the transaction had been sent before
     */
    metBy: (
      _request: TransactionRequest,
      item: Item | undefined,
      _isRepeat: boolean,
    ): ClaimRecord | undefined => item && items.readClaim(item),

    step: (step: NewStep) => ({
      ...conditional,
      Item: {
        ...keyOf(step.pk, stepSortKey(step.window, step.name)),
        ...stepAttributes(step),
        [names.ttl]: number(cleanupAtSeconds(step.endsAtMs)),
      },
      ...ifAbsent,
    }),

    stepEnd(step: NewStep) {
      const set = assignment(stepAttributes(step));
      return update(
        keyOf(step.pk, stepSortKey(step.window, step.name)),
        `SET ${set.expression}`,
        '#owner = :mine AND #status = :started',
        set.names,
        {
          ...set.values,
          ':mine': { S: step.owner },
          ':started': { S: 'STARTED' satisfies StepStatus },
        },
      );
    },

    message: (pk: string, window: string, message: StagedMessage, nowMs: number, endsAtMs: number) => ({
      ...conditional,
      Item: {
        ...keyOf(pk, messageSortKey(window, message.name, message.position)),
        [attribute.destination]: { S: message.destination },
        [attribute.body]: typeof message.body === 'string' ? { S: message.body } : { B: message.body },
        [attribute.groupId]: { S: message.groupId },
        [attribute.deduplicationId]: { S: message.deduplicationId },
        [names.ttl]: number(messageCleanupAtSeconds(nowMs, endsAtMs)),
      } as Item,
      ...ifAbsent,
    }),

    readStep(item: Item): StepRecord {
      const sortKey = item[names.sk]?.S ?? '';
      const isDone = item[attribute.status]?.S !== 'STARTED';
      return {
        // Windows are UUIDs without a '#', so the first '#' ends the window.
        name: sortKey.slice(stepSortKeyPrefix(sortKey.split('#')[0] ?? '').length),
        status: isDone ? 'DONE' : 'STARTED',
        owner: item[attribute.owner]?.S ?? '',
        attempt: numberIn(item, attribute.attempt),
        ...(isDone && { value: item[attribute.value]?.B ?? readUnavailable(item) }),
      };
    },
  };
}

function stepAttributes({ status: stepStatus, owner, attempt, value }: NewStep): Item {
  return {
    [attribute.status]: { S: stepStatus },
    [attribute.owner]: { S: owner },
    [attribute.attempt]: number(attempt),
    ...(ArrayBuffer.isView(value)
      ? { [attribute.value]: { B: value } as AttributeValue }
      : value && unavailableAttributes(value)),
  };
}
