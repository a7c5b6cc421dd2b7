/** Faults in the conditions and the reading of a numbered sender's item. */
import type { Mutant } from './mutant.ts';

const items = 'lib/dynamo/sequence-items.ts';
const contract = 'test/store/store.test.ts: numbered sender';
const ofItem = 'test/dynamo/numbered-store.test.ts';

export const sequenceMutants: readonly Mutant[] = [
  {
    fault: 'a write of an older epoch changes what the newer one of its sender has in flight',
    file: items,
    find: '`#epoch = :epoch AND ${isNext} AND #record.#owner',
    replace: '`(#epoch = :epoch OR #epoch <> :epoch) AND ${isNext} AND #record.#owner',
    test: `${contract}: fences every request of an older epoch`,
  },
  {
    fault: "a late write of a sender's number changes the number that has its record now",
    file: items,
    find: 'AND ${isNext} AND #record.#owner',
    replace: 'AND (${isNext} OR attribute_exists(#last)) AND #record.#owner',
    test: `${contract}: applies no late request of a number to the one that has its place now`,
  },
  {
    fault: "a sender's number is won before the one before it is completed",
    file: items,
    find: '`#epoch = :epoch AND ${isNext} AND (${isFree})`',
    replace: '`#epoch = :epoch AND (${isNext} OR attribute_exists(#epoch)) AND (${isFree})`',
    test: `${contract}: wins a number only once its predecessor is completed`,
  },
  {
    fault: "a late claim of a sender's number wins after it was given back",
    file: items,
    find: '(#endsAt <= :now AND #leaseUntil <= :now)',
    replace: '(#leaseUntil <= :now)',
    test: `${contract}: keeps a late claim of a number out that was given back, in flight or not yet`,
  },
  {
    fault: "a claim of a sender's number does not wait for the lease of one whose window is over",
    file: items,
    find: '(#endsAt <= :now AND #leaseUntil <= :now)',
    replace: '(#endsAt <= :now AND attribute_exists(#leaseUntil))',
    test: 'test/store/store.test.ts: of a numbered sender: refuses a claim while the lease holds, though the window is over',
  },
  {
    fault: 'a higher epoch of a sender does not wait for the lease of the attempt in flight',
    file: items,
    find: '#epoch < :epoch AND (attribute_not_exists(#endsAt) OR #leaseUntil <= :now)',
    replace: '#epoch < :epoch AND (attribute_not_exists(#endsAt) OR attribute_exists(#leaseUntil))',
    test: `${contract}: waits with a higher epoch for the lease of the attempt in flight`,
  },
  {
    fault: 'the first number of a sender is won again in the same epoch',
    file: items,
    find: "'#epoch < :epoch AND",
    replace: "'#epoch <= :epoch AND",
    test: `${contract}: applies no late request of a number that is done, to it or to the next one`,
  },
  {
    fault: 'an older epoch of a sender takes its item back',
    file: items,
    find: "'#epoch < :epoch AND",
    replace: "'#epoch <> :epoch AND",
    test: `${contract}: fences every request of an older epoch`,
  },
  {
    fault: "a sender's number in flight replaces one of its last five answers",
    file: items,
    find: 'const records = keptAnswers + 1;',
    replace: 'const records = keptAnswers;',
    test: `${contract}: keeps its five answers while the next number is in flight, and once it is given back`,
  },
  {
    fault: 'a higher epoch of a sender leaves the records of the one before',
    file: items,
    find: 'const others = isFirst ?',
    replace: 'const others = isFirst && number > 0 ?',
    test: `${ofItem}: begins anew with a higher epoch, without a trace of the one before`,
  },
  {
    fault: 'a number that is given back shortens the memory of its sender',
    file: items,
    find: "change.text.replace('#ttl = :ttl', '#ttl = if_not_exists(#ttl, :ttl)')",
    replace: 'change.text',
    test: `${ofItem}: stays as long when a number of it is given back, whether it was claimed or not`,
  },
  {
    fault: "a sender's answer is amended once it is forgotten",
    file: items,
    find: 'numeric(number + keptAnswers - 1)',
    replace: 'numeric(number + keptAnswers)',
    test: `${contract}: replaces no answer that is forgotten`,
  },
  {
    fault: "a sender's sixth answer is kept now and then",
    file: 'lib/store/sequence.ts',
    find: 'number >= next - keptAnswers ?',
    replace: 'number >= next - keptAnswers - 1 ?',
    test: `${contract}: keeps the last five answers, and knows of all others that they are done`,
  },
  {
    fault: "a higher epoch takes over the attempt of its sender's older one",
    file: 'lib/store/sequence.ts',
    find: '  pk,\n  endsAtMs: 0,\n',
    replace: '  pk,\n',
    test: `${contract}: waits with a higher epoch for the lease of the attempt in flight`,
  },
  {
    fault: "a sender's commit that may have been applied is told to have done nothing",
    file: 'lib/dynamo/numbered-store.ts',
    find: 'inDoubt(isRepeat, error) : error',
    replace: 'error : error',
    test: `${ofItem}: is in doubt where the SDK had sent its completed claim before, and a newer epoch stops it`,
  },
];
