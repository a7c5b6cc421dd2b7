import { effectsTable } from '../../simulation/database.ts';
import { keyed, type Run } from './keyed.ts';

export const committed = keyed({ name: 'committed', handle: commit });

/** The handler computes, and the commit takes its place: all orders of both transactions. */
export const atCommit = keyed({ name: 'at commit', options: { claim: 'at-commit' }, handle: commit });

function commit({ stage: { world }, op, execution, answer }: Run): Promise<object> {
  const { id, pk } = execution;
  const TableName = effectsTable;
  return op
    .commit({
      result: { ...answer, commits: id },
      writes: [
        { Put: { TableName, Item: { pk: id, sk: 'by', operation: pk } } },
        {
          Update: {
            TableName,
            Key: { pk, sk: 'counter' },
            UpdateExpression: 'ADD times :one',
            ExpressionAttributeValues: { ':one': 1 },
          },
        },
      ],
    })
    .catch((error: { readonly code?: string; readonly effect?: string }) => {
      if (error.code === 'COMMIT_REJECTED' || error.effect === 'none') world.history.refused.push(id);
      throw error;
    });
}
