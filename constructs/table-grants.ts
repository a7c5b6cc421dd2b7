import type { ITableV2 } from 'aws-cdk-lib/aws-dynamodb';
import { Grant, type IGrantable } from 'aws-cdk-lib/aws-iam';
import { grantThrough } from './key-grants.ts';

/** Grants on a table of idempotency records. They name each action and the table, and never have a wildcard. */
export class IdempotencyTableGrants {
  readonly #table: ITableV2;
  readonly #onTransactions: (use: string) => void;

  /** @internal */
  constructor(table: ITableV2, onTransactions: (use: string) => void = () => {}) {
    this.#table = table;
    this.#onTransactions = onTransactions;
  }

  /** For a guard: claiming, settling, and reading stored answers. */
  guard(grantee: IGrantable): Grant {
    return this.#grant(grantee, guardActions);
  }

  /** For a guard whose handler runs steps. The actions are the same: a step is put, and is read by a query. */
  steps(grantee: IGrantable): Grant {
    return this.#grant(grantee, guardActions);
  }

  /**
   * For a guard whose handler calls `transaction` or `commit`, outbox included.
   *
   * @param written the tables that the handler's `writes` name; a transaction needs the action of each of its items, so put,
   * update, delete and condition check are granted on them
   * @see https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/transaction-apis-iam.html
   */
  commit(grantee: IGrantable, ...written: readonly ITableV2[]): Grant {
    this.#onTransactions('a function that commits');
    const own = this.#grant(grantee, [...guardActions, conditionCheck]);
    return written.reduce((grant, table) => grant.combine(grantOn(table, grantee, writeActions)), own);
  }

  /** For reading records and the table's set-up, as `checkTable()` does. */
  inspect(grantee: IGrantable): Grant {
    return this.#grant(grantee, inspectActions, keyReadActions);
  }

  /** For an operator who reads and repairs records: ends a lease, deletes a record, enters an outcome. */
  operate(grantee: IGrantable): Grant {
    return this.#grant(grantee, [
      ...inspectActions,
      'dynamodb:DeleteItem',
      'dynamodb:PutItem',
      'dynamodb:UpdateItem',
    ]);
  }

  #grant(grantee: IGrantable, actions: readonly string[], keyActions?: readonly string[]): Grant {
    return grantOn(this.#table, grantee, actions, keyActions);
  }
}

const conditionCheck = 'dynamodb:ConditionCheckItem';
const writeActions = [conditionCheck, 'dynamodb:DeleteItem', 'dynamodb:PutItem', 'dynamodb:UpdateItem'];
const guardActions = ['dynamodb:GetItem', 'dynamodb:PutItem', 'dynamodb:Query', 'dynamodb:UpdateItem'];
const inspectActions = [
  'dynamodb:DescribeTable',
  'dynamodb:DescribeTimeToLive',
  'dynamodb:GetItem',
  'dynamodb:Query',
];
const keyReadActions = ['kms:Decrypt', 'kms:DescribeKey'];
/** DynamoDB calls KMS on behalf of its caller. */
const keyActions = [
  ...keyReadActions,
  'kms:Encrypt',
  'kms:GenerateDataKey',
  'kms:GenerateDataKeyWithoutPlaintext',
  'kms:ReEncryptFrom',
  'kms:ReEncryptTo',
];

function grantOn(
  table: ITableV2,
  grantee: IGrantable,
  actions: readonly string[],
  onKey: readonly string[] = keyActions,
): Grant {
  const grant = Grant.addToPrincipal({
    grantee,
    actions: [...actions].sort(),
    resourceArns: [table.tableArn],
  });
  return table.encryptionKey === undefined
    ? grant
    : grant.combine(grantThrough('dynamodb', table.encryptionKey, grantee, ...onKey));
}
