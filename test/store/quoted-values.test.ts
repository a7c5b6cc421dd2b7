import { expect, it } from 'vitest';
import { withoutValues } from '../../lib/store/writes.ts';

const put = (Item: object) => [{ Put: { TableName: 'orders', Item } }];

it('a value that is quoted is taken out whole, also where another value is a part of it', () => {
  const item = { one: { N: '4111' }, other: { L: [{ M: { card: { N: '4111222233334444' } } }] } };
  const said = 'The parameter cannot be converted to a numeric value: 4111222233334444';
  expect(withoutValues(said, put(item))).toBe('The parameter cannot be converted to a numeric value: …');
  expect(withoutValues('4111, or 4111222233334444', put(item))).toBe('…, or …');
});

it('a value of one character leaves the words of a message', () => {
  expect(withoutValues('a number: 7', put({ a: { S: 'a' }, n: { N: '7' } }))).toBe('a number: 7');
});
