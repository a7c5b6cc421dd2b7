import { isDeepStrictEqual } from 'node:util';
import { type QueueDescription, region, type TableDescription } from '../aws/index.ts';
import type { PropertyReader } from './properties.ts';
import { type Resource, type TemplateReader, tableTypes } from './reader.ts';

/** Tables and queues. */
export function describeData(reader: TemplateReader): {
  readonly tables: readonly TableDescription[];
  readonly queues: Readonly<Record<string, QueueDescription>>;
} {
  for (const { properties } of reader.of('AWS::SQS::QueuePolicy')) checkQueuePolicy(properties);
  return {
    tables: reader.of(...tableTypes).map(describeTable),
    queues: Object.fromEntries(
      reader.of('AWS::SQS::Queue').map((queue) => [queue.name, describeQueue(queue, reader)]),
    ),
  };
}

function describeTable({ name, type, properties }: Resource): TableDescription {
  const { where } = properties;
  properties.oneOf('BillingMode', ['PAY_PER_REQUEST']);
  const keyTypes = Object.fromEntries(
    properties
      .objects('AttributeDefinitions')
      .map((definition) => [
        definition.text('AttributeName'),
        definition.oneOf('AttributeType', ['S', 'N', 'B']),
      ]),
  );
  const keys = properties
    .objects('KeySchema')
    .map((key) => ({ name: key.text('AttributeName'), type: key.oneOf('KeyType', ['HASH', 'RANGE']) }));
  const partitionKey = keys.find((key) => key.type === 'HASH')?.name;
  const sortKey = keys.find((key) => key.type === 'RANGE')?.name;
  if (partitionKey === undefined) throw new Error(`${where}: KeySchema has no HASH key.`);
  // DynamoDB accepts neither more nor fewer.
  if (!isDeepStrictEqual(keys.map((key) => key.name).sort(), Object.keys(keyTypes).sort())) {
    throw new Error(
      `${where}: AttributeDefinitions (${Object.keys(keyTypes).join(', ')}) are not the attributes of KeySchema (${keys.map((key) => key.name).join(', ')}).`,
    );
  }
  const ttl = properties.optionalObject('TimeToLiveSpecification');
  const ttlAttribute = ttl?.optionalText('AttributeName');
  const stream = properties
    .optionalObject('StreamSpecification')
    ?.oneOf('StreamViewType', ['KEYS_ONLY', 'NEW_IMAGE', 'OLD_IMAGE', 'NEW_AND_OLD_IMAGES']);
  if (type === 'AWS::DynamoDB::GlobalTable') checkReplicas(properties);
  return {
    name,
    partitionKey,
    sortKey: sortKey ?? false,
    keyTypes,
    ttlAttribute: ttl?.optionalFlag('Enabled') === true && ttlAttribute !== undefined ? ttlAttribute : false,
    ...(stream && { stream }),
  };
}

function checkReplicas(properties: PropertyReader): void {
  const regions = properties.objects('Replicas').map((replica) => replica.text('Region'));
  if (regions.length === 1 && regions[0] === region) return;
  throw new Error(
    `${properties.where}: Replicas are in ${regions.join(', ')}; there is one Region here, ${region}.`,
  );
}

function describeQueue({ properties }: Resource, reader: TemplateReader): QueueDescription {
  const { where } = properties;
  const fifo = properties.optionalFlag('FifoQueue') ?? false;
  const contentBasedDeduplication = properties.optionalFlag('ContentBasedDeduplication');
  const scope = properties.optionalOneOf('DeduplicationScope', ['queue', 'messageGroup']);
  const limit = properties.optionalOneOf('FifoThroughputLimit', ['perQueue', 'perMessageGroupId']);
  const highThroughput = scope === 'messageGroup';
  if (highThroughput !== (limit === 'perMessageGroupId')) {
    throw new Error(
      `${where}: DeduplicationScope is ${scope} with FifoThroughputLimit ${limit}; known are both per group, or neither.`,
    );
  }
  const visibilityTimeoutSeconds = properties.optionalNumber('VisibilityTimeout');
  const retentionSeconds = properties.optionalNumber('MessageRetentionPeriod');
  const redrive = properties.optionalObject('RedrivePolicy');
  const deadLetterQueue =
    redrive &&
    reader.referredTo(redrive.text('deadLetterTargetArn'), `${where}.RedrivePolicy`, 'AWS::SQS::Queue').name;
  const maxReceiveCount = redrive?.optionalNumber('maxReceiveCount');
  return {
    fifo,
    ...(contentBasedDeduplication !== undefined && { contentBasedDeduplication }),
    ...(highThroughput && { highThroughput }),
    ...(visibilityTimeoutSeconds !== undefined && { visibilityTimeoutSeconds }),
    ...(retentionSeconds !== undefined && { retentionSeconds }),
    ...(deadLetterQueue !== undefined && { deadLetterQueue }),
    ...(maxReceiveCount !== undefined && { maxReceiveCount }),
  };
}

/** Everything on this machine is plain HTTP, and would be refused by the one policy that is known here. */
function checkQueuePolicy(properties: PropertyReader): void {
  properties.optionalTexts('Queues');
  const document = properties.raw('PolicyDocument') as { Statement?: readonly Record<string, unknown>[] };
  for (const { Resource: _, Sid: __, ...statement } of document.Statement ?? []) {
    const refusesPlainHttp = {
      Effect: 'Deny',
      Action: 'sqs:*',
      Principal: { AWS: '*' },
      Condition: { Bool: { 'aws:SecureTransport': 'false' } },
    };
    if (isDeepStrictEqual(statement, refusesPlainHttp)) continue;
    throw new Error(
      `${properties.where}.PolicyDocument: ${JSON.stringify(statement)} is not evaluated here; known is a Deny of requests without TLS.`,
    );
  }
}
