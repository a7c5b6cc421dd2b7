import { describe, expect, test } from 'vitest';
import { compileFilter } from '../../../local/aws/event-filter.ts';
import { failedItems } from '../../../local/aws/event-source.ts';
import { startStack } from '../../../local/stack/stack.ts';
import { dynamodbEndpoint } from '../../support/dynamodb.ts';

describe('the answer of a function to a batch', () => {
  const items = ['1', '2', '3'];
  const answered = (payload: unknown) => ({ outcome: 'result', payload: JSON.stringify(payload) }) as const;

  test.each([
    [null],
    [{}],
    [{ batchItemFailures: [] }],
    [{ batchItemFailures: null }],
    [{ statusCode: 500 }],
  ])('means complete success where it is %j', (answer) => {
    expect(failedItems(answered(answer), items, true)).toEqual([]);
  });

  test.each([
    ['text'],
    [[]],
    [{ batchItemFailures: '1' }],
    [{ batchItemFailures: ['1'] }],
    [{ batchItemFailures: [null] }],
    [{ batchItemFailures: [{ itemIdentifier: '' }] }],
    [{ batchItemFailures: [{ itemIdentifier: null }] }],
    [{ batchItemFailures: [{ itemIdentifier: 1 }] }],
    [{ batchItemFailures: [{ itemIdentifier: '1' }, { messageId: '2' }] }],
    [{ batchItemFailures: [{ itemIdentifier: '1' }, { itemIdentifier: '4' }] }],
  ])('means complete failure where it is %j', (answer) => {
    expect(failedItems(answered(answer), items, true)).toEqual(items);
  });

  test('names the failed records in any order', () => {
    const answer = { batchItemFailures: [{ itemIdentifier: '3' }, { itemIdentifier: '1' }] };
    expect(failedItems(answered(answer), items, true)).toEqual(['1', '3']);
  });

  test('is ignored without ReportBatchItemFailures', () => {
    expect(failedItems(answered({ batchItemFailures: [{ itemIdentifier: '1' }] }), items, false)).toEqual([]);
    expect(failedItems({ outcome: 'timeout' }, items, false)).toEqual(items);
  });
});

describe('the filter of an event source', () => {
  const matches = (pattern: Record<string, unknown>, record: unknown) => compileFilter(pattern)(record);

  test('compares values unconverted and demands all its fields', () => {
    const record = { eventName: 'INSERT', dynamodb: { NewImage: { n: { N: '1' } } } };
    expect(matches({ eventName: ['INSERT', 'MODIFY'] }, record)).toBe(true);
    expect(matches({ eventName: ['REMOVE'] }, record)).toBe(false);
    expect(matches({ dynamodb: { NewImage: { n: { N: ['1'] } } } }, record)).toBe(true);
    expect(matches({ dynamodb: { NewImage: { n: { N: [1] } } } }, record)).toBe(false);
    expect(matches({ eventName: ['INSERT'], dynamodb: { OldImage: { n: { N: ['1'] } } } }, record)).toBe(
      false,
    );
  });

  test.each([
    [{ prefix: 'ab' }, 'abc', true],
    [{ prefix: 'b' }, 'abc', false],
    [{ suffix: 'bc' }, 'abc', true],
    [{ exists: true }, 'abc', true],
    [{ exists: false }, undefined, true],
    [{ exists: false }, 'abc', false],
    [{ 'anything-but': ['abc', 'd'] }, 'abc', false],
    [{ 'anything-but': 'd' }, 'abc', true],
  ])('decides with %j on %j: %j', (operator, value, expected) => {
    expect(matches({ field: [operator] }, { field: value })).toBe(expected);
  });

  test('refuses operators that it does not know', () => {
    expect(() => compileFilter({ field: 'INSERT' })).toThrow(
      '\'field\' is "INSERT"; expected a list of values',
    );
    expect(() => compileFilter({ field: [{ numeric: ['>', 1] }] })).toThrow(
      'known are prefix, suffix, exists',
    );
  });
});

test.each([
  [{ queue: 'raw.fifo', maxBatchingWindowSeconds: 1 }, 'a FIFO queue has no batching window'],
  [{ queue: 'raw', batchSize: 11 }, 'a batchSize over 10 needs a standard queue'],
  [{ queue: 'raw', batchSize: 0 }, 'batchSize is a whole number from 1'],
  [{ queue: 'none' }, "Event source 'none' is none of the queues (raw, raw.fifo)."],
  [{ stream: 'plain' }, "Event source 'plain' is no table with a stream"],
  [{ stream: 'plain', batchSize: 1001 }, 'batchSize is a whole number from 1 to 1000'],
  [{ stream: 'plain', parallelizationFactor: 11 }, 'parallelizationFactor is a whole number from 1 to 10'],
])('a stack refuses the event source %j', async (mapping, problem) => {
  const functions = { echo: { entry: 'examples/payments.ts' } };
  const described = {
    tables: ['plain'],
    queues: { raw: {}, 'raw.fifo': {} },
    functions,
    eventSources: [{ ...mapping, function: 'echo' }],
  };
  await expect(startStack(described, { dynamodbEndpoint: dynamodbEndpoint() })).rejects.toThrow(problem);
});
