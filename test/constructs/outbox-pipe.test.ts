import { Annotations as Advice, Duration } from 'aws-cdk-lib';
import { Annotations, Match, Template } from 'aws-cdk-lib/assertions';
import { MultiRegionConsistency, TableEncryptionV2 } from 'aws-cdk-lib/aws-dynamodb';
import { Key } from 'aws-cdk-lib/aws-kms';
import { describe, expect, it } from 'vitest';
import {
  IdempotencyTable,
  type IdempotencyTableProps,
  IdempotentQueue,
  OutboxPipe,
  type OutboxPipeProps,
} from '../../constructs/index.ts';
import { actionsOn, createFunction, createStack, statementsOf, variablesOf } from './support.ts';

function create(props: Partial<OutboxPipeProps> = {}, tableProps: IdempotencyTableProps = {}) {
  const stack = createStack();
  const table = new IdempotencyTable(stack, 'Idempotency', tableProps);
  const queue = new IdempotentQueue(stack, 'Ledger');
  const pipe = new OutboxPipe(stack, 'Outbox', { table, queue, destination: 'ledger', ...props });
  return { stack, table, queue, pipe };
}

describe('a pipe', () => {
  it('reads the stream from its beginning, and of it new items of its destination', () => {
    const { stack, table, pipe } = create();
    const template = Template.fromStack(stack);
    template.hasResourceProperties('AWS::DynamoDB::GlobalTable', {
      StreamSpecification: { StreamViewType: 'NEW_AND_OLD_IMAGES' },
    });
    template.hasResourceProperties('AWS::Pipes::Pipe', {
      Source: stack.resolve(table.table.tableStreamArn),
      SourceParameters: {
        DynamoDBStreamParameters: {
          StartingPosition: 'TRIM_HORIZON',
          BatchSize: 1,
          ParallelizationFactor: 1,
          MaximumRetryAttempts: 100,
          MaximumRecordAgeInSeconds: 43_200,
          OnPartialBatchItemFailure: 'AUTOMATIC_BISECT',
          DeadLetterConfig: { Arn: stack.resolve(pipe.deadLetterQueue.queueArn) },
        },
        FilterCriteria: {
          Filters: [
            {
              Pattern: JSON.stringify({
                eventName: ['INSERT'],
                dynamodb: { NewImage: { destination: { S: ['ledger'] } } },
              }),
            },
          ],
        },
      },
    });
  });

  it('sends the body unchanged, and whole values as both ids', () => {
    const { stack, queue } = create();
    Template.fromStack(stack).hasResourceProperties('AWS::Pipes::Pipe', {
      Target: stack.resolve(queue.queue.queueArn),
      TargetParameters: {
        InputTemplate: '<$.dynamodb.NewImage.body.S>',
        SqsQueueParameters: {
          MessageGroupId: '$.dynamodb.NewImage.groupId.S',
          MessageDeduplicationId: '$.dynamodb.NewImage.deduplicationId.S',
        },
      },
    });
  });

  it('warns of a standard queue, which keeps neither order nor ids, until that is acknowledged', () => {
    const stack = createStack();
    const table = new IdempotencyTable(stack, 'Idempotency');
    const queue = new IdempotentQueue(stack, 'Ledger', { fifo: false });
    const pipe = new OutboxPipe(stack, 'Outbox', { table, queue, destination: 'ledger' });
    const warned = Match.stringLikeRegexp("queue of destination 'ledger' is a standard one");
    expect(Annotations.fromStack(stack).findWarning('/Test/Outbox', warned)).toHaveLength(1);

    const other = create();
    expect(
      Annotations.fromStack(other.stack).findWarning('*', Match.stringLikeRegexp('standard one')),
    ).toEqual([]);

    Advice.of(pipe).acknowledgeWarning('idemkit:outbox-pipe:standard-queue');
    expect(Annotations.fromStack(stack).findWarning('*', warned)).toEqual([]);
  });

  it('gives a standard queue no ids', () => {
    const stack = createStack();
    const table = new IdempotencyTable(stack, 'Idempotency');
    const queue = new IdempotentQueue(stack, 'Ledger', { fifo: false });
    new OutboxPipe(stack, 'Outbox', { table, queue, destination: 'ledger' });
    Template.fromStack(stack).hasResourceProperties('AWS::Pipes::Pipe', {
      TargetParameters: { SqsQueueParameters: Match.absent() },
    });
  });

  it('may read the stream, send to both queues and write its log, and nothing else', () => {
    const { stack, table, queue, pipe } = create();
    const template = Template.fromStack(stack);
    expect(actionsOn(template, stack.resolve(table.table.tableStreamArn))).toEqual([
      'dynamodb:DescribeStream',
      'dynamodb:GetRecords',
      'dynamodb:GetShardIterator',
      'dynamodb:ListStreams',
    ]);
    expect(actionsOn(template, stack.resolve(queue.queue.queueArn))).toEqual(['sqs:SendMessage']);
    expect(actionsOn(template, stack.resolve(pipe.deadLetterQueue.queueArn))).toEqual(['sqs:SendMessage']);
    expect(JSON.stringify(statementsOf(template))).not.toContain('"*"');
    template.hasResourceProperties('AWS::IAM::Role', {
      AssumeRolePolicyDocument: {
        Statement: [
          Match.objectLike({
            Principal: { Service: 'pipes.amazonaws.com' },
            Condition: { StringEquals: { 'aws:SourceAccount': '111122223333' } },
          }),
        ],
      },
    });
  });

  it('may use customer-managed keys', () => {
    const stack = createStack();
    const tableKey = new Key(stack, 'TableKey');
    const queueKey = new Key(stack, 'QueueKey');
    const table = new IdempotencyTable(stack, 'Idempotency', {
      encryption: TableEncryptionV2.customerManagedKey(tableKey),
    });
    const queue = new IdempotentQueue(stack, 'Ledger', { encryptionKey: queueKey });
    new OutboxPipe(stack, 'Outbox', { table, queue, destination: 'ledger' });
    const template = Template.fromStack(stack);
    expect(actionsOn(template, stack.resolve(tableKey.keyArn))).toEqual(['kms:Decrypt']);
    expect(actionsOn(template, stack.resolve(queueKey.keyArn))).toEqual([
      'kms:Decrypt',
      'kms:GenerateDataKey',
    ]);
  });

  it.each<[Partial<OutboxPipeProps>, RegExp]>([
    [{ destination: '' }, /destination is ''/],
    [{ destination: 'a,b' }, /destination is 'a,b'.*without commas/],
    [{ batchSize: 11 }, /batchSize is 11: use 1 to 10/],
    [{ parallelizationFactor: 0 }, /parallelizationFactor is 0: use 1 to 10/],
    [{ maximumRetryAttempts: -1 }, /maximumRetryAttempts is -1/],
    [{ maximumRecordAge: Duration.days(2) }, /maximumRecordAge is 172800 s/],
  ])('fails with %o', (props, message) => {
    expect(() => create(props)).toThrow(message);
  });
});

describe('a function that commits', () => {
  it('knows where the pipes of its table lead, and no other function does', () => {
    const { stack, table, queue } = create();
    table.protect(createFunction(stack, 'Committing'), { level: 'committed' });
    table.protect(createFunction(stack, 'Guarded'));
    table.protect(createFunction(stack, 'Relayed'), { level: 'committed', destinations: ['audit'] });
    new OutboxPipe(stack, 'Mail', { table, queue, destination: 'mail' });
    const template = Template.fromStack(stack);
    expect(variablesOf(template, 'Committing')).toMatchObject({ IDEMPOTENCY_DESTINATIONS: 'ledger,mail' });
    expect(variablesOf(template, 'Guarded')).not.toHaveProperty('IDEMPOTENCY_DESTINATIONS');
    expect(variablesOf(template, 'Relayed')).toMatchObject({ IDEMPOTENCY_DESTINATIONS: 'audit' });
  });
});

describe('two pipes on one table', () => {
  it('read different destinations, and share the stream', () => {
    const { stack, table, queue } = create();
    new OutboxPipe(stack, 'Mail', { table, queue, destination: 'mail' });
    Template.fromStack(stack).resourceCountIs('AWS::Pipes::Pipe', 2);
    Annotations.fromStack(stack).hasNoWarning('*', Match.stringLikeRegexp('two readers'));
  });

  it('get a warning where both publish one destination', () => {
    const { stack, table, queue } = create();
    table.protect(createFunction(stack, 'Committing'), { level: 'committed' });
    new OutboxPipe(stack, 'Again', { table, queue, destination: 'ledger' });
    const template = Template.fromStack(stack);
    expect(variablesOf(template, 'Committing')).toMatchObject({ IDEMPOTENCY_DESTINATIONS: 'ledger' });
    const published = Match.stringLikeRegexp("destination 'ledger' has more than one reader");
    Annotations.fromStack(stack).hasWarning('/Test/Idempotency', published);
    Advice.of(table).acknowledgeWarning('idemkit:outbox:destination');
    Annotations.fromStack(stack).hasNoWarning('*', published);
  });

  it('get a warning from a third one', () => {
    const { stack, table, queue } = create();
    new OutboxPipe(stack, 'Mail', { table, queue, destination: 'mail' });
    new OutboxPipe(stack, 'Audit', { table, queue, destination: 'audit' });
    Annotations.fromStack(stack).hasWarning(
      '/Test/Idempotency',
      Match.stringLikeRegexp('more than two readers \\(destinations ledger, mail, audit\\)'),
    );
  });
});

describe('a pipe on a table with replicas', () => {
  const replicas = [{ region: 'eu-central-1' }];

  it('reads the stream that the table had before the replicas', () => {
    const specificationOf = (props: IdempotencyTableProps) => {
      const [table] = Object.values(
        Template.fromStack(create({}, props).stack).findResources('AWS::DynamoDB::GlobalTable'),
      );
      return table?.Properties.StreamSpecification;
    };
    expect(specificationOf({ replicas, acknowledgeLastWriterWins: true })).toEqual(specificationOf({}));
    expect(specificationOf({ stream: true })).toEqual(specificationOf({}));
  });

  it('fails with strong consistency', () => {
    const { stack } = create(
      {},
      {
        replicas,
        witnessRegion: 'eu-west-2',
        multiRegionConsistency: MultiRegionConsistency.STRONG,
        timeToLive: false,
      },
    );
    expect(() => Template.fromStack(stack)).toThrow(/but the outbox 'ledger' needs them/);
  });
});
