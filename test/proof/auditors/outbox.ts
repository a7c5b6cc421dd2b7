import type { Auditor } from '../simulation/history.ts';

/** What a transaction stages is published, once to a consumer's eyes, and nothing else is. */
export const outbox: Auditor = {
  promise: 'messages are neither lost nor invented',
  audit({ staged, published, committed, expectedMessages }) {
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
    return problems;
  },
};
