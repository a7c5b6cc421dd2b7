import type { Auditor, History } from '../simulation/history.ts';

/** What a transaction stages is published, once to a consumer's eyes, and nothing else is. */
export const outbox: Auditor = {
  promise: 'messages are neither lost nor invented',
  audit(history) {
    const { staged, published, committed, expectedMessages } = history;
    const problems: string[] = [];
    const ids = new Set(published.map(({ deduplicationId }) => deduplicationId));
    for (const { deduplicationId, body } of staged) {
      if (!ids.has(deduplicationId)) problems.push(`${body} was staged and never published`);
    }
    for (const message of published) {
      const source = staged.find(({ deduplicationId }) => deduplicationId === message.deduplicationId);
      if (!source) problems.push(`${message.body} was published and never staged`);
      else if (source.body !== message.body || source.groupId !== message.groupId) {
        problems.push(`${message.body} was staged otherwise`);
      }
    }
    const texts = staged.map(({ body }) => body);
    for (const body of new Set(texts.filter((text, at) => texts.indexOf(text) !== at))) {
      problems.push(`${body} was staged twice`);
    }
    for (const { execution } of committed) {
      for (const body of expectedMessages.get(execution) ?? []) {
        if (!texts.includes(body)) problems.push(`${body} was not staged with its commit`);
      }
    }
    const done = new Set(committed.map(({ execution }) => execution));
    for (const [execution, bodies] of expectedMessages) {
      if (!done.has(execution) && bodies.some((body) => texts.includes(body))) {
        problems.push(`the messages of ${execution} were staged without its commit`);
      }
    }
    return [...problems, ...outOfOrder(history)];
  },
};

/** Of what one relay was given, a group's messages go out one after the other, and a transaction's as they were staged. */
function outOfOrder({ publications, staged }: History): string[] {
  const before = new Map<
    string,
    { readonly publishedAtMs: number | undefined; readonly deduplicationId: string }
  >();
  const last = new Map<string, number>();
  return publications.flatMap((one) => {
    const { relay, groupId, deduplicationId, begunAtMs } = one;
    const problems: string[] = [];
    const lane = `${relay} ${groupId}`;
    const earlier = before.get(lane);
    before.set(lane, one);
    if (earlier && (earlier.publishedAtMs ?? Number.POSITIVE_INFINITY) > begunAtMs) {
      problems.push(
        `${relay} began ${deduplicationId} before ${earlier.deduplicationId} of its group was out`,
      );
    }
    const { pk, sk } = staged.find((item) => item.deduplicationId === deduplicationId) ?? { pk: '', sk: '' };
    const mark = sk.lastIndexOf('#');
    const transaction = `${lane} ${pk} ${sk.slice(0, mark)}`;
    const position = Number(sk.slice(mark + 1));
    if (position < (last.get(transaction) ?? 0)) {
      problems.push(`${relay} published ${sk} after a later message of its transaction`);
    }
    last.set(transaction, position);
    return problems;
  });
}
