import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type {
  FilterPattern,
  FunctionDescription,
  PipeDescription,
  SqsEventSourceDescription,
  StreamEventSourceDescription,
} from '../aws/index.ts';
import type { PropertyReader } from './properties.ts';
import { type Resource, type TemplateReader, tableTypes } from './reader.ts';

/** Functions, and what calls them without being asked. */
export function describeCompute(reader: TemplateReader): {
  readonly functions: Readonly<Record<string, FunctionDescription>>;
  readonly eventSources: readonly (SqsEventSourceDescription | StreamEventSourceDescription)[];
  readonly pipes: Readonly<Record<string, PipeDescription>>;
} {
  for (const path of Object.keys(reader.options.overrides ?? {})) {
    const paths = reader.of(functionType).map((fn) => fn.path);
    if (paths.includes(path)) continue;
    throw new Error(`There is no function '${path}' to override (there are ${paths.join(', ')}).`);
  }
  return {
    functions: Object.fromEntries(
      reader.of(functionType).map((fn) => [fn.name, describeFunction(fn, reader)]),
    ),
    eventSources: reader
      .of('AWS::Lambda::EventSourceMapping')
      .map((mapping) => describeEventSource(mapping, reader)),
    pipes: Object.fromEntries(
      reader.of('AWS::Pipes::Pipe').map((pipe) => [pipe.name, describePipe(pipe, reader)]),
    ),
  };
}

const functionType = 'AWS::Lambda::Function';
const roleType = 'AWS::IAM::Role';
const queueType = 'AWS::SQS::Queue';

/** Lambda sets these itself, and takes no function that does. */
const reservedVariables =
  /^(?:_HANDLER|_X_AMZN_TRACE_ID|AWS_(?:DEFAULT_REGION|REGION|EXECUTION_ENV|LAMBDA_\w+|ACCESS_KEY(?:_ID)?|SECRET_ACCESS_KEY|SESSION_TOKEN)|LAMBDA_TASK_ROOT|LAMBDA_RUNTIME_DIR)$/;

function describeFunction({ path, properties }: Resource, reader: TemplateReader): FunctionDescription {
  const { where } = properties;
  const runtime = properties.oneOf('Runtime', ['nodejs22.x', 'nodejs24.x']);
  const code = properties.object('Code');
  code.optionalText('S3Bucket');
  const [, file = '', handler = ''] = /^(.+)\.([^.]+)$/.exec(properties.text('Handler')) ?? [];
  const folder = reader.assetFolder(code.text('S3Key'));
  const entry = ['mjs', 'js', 'cjs'].map((type) => join(folder, `${file}.${type}`)).find(existsSync);
  if (entry === undefined)
    throw new Error(
      `${where}: Handler is '${properties.text('Handler')}', and there is no '${file}' in the asset.`,
    );

  const environment = properties.optionalObject('Environment')?.textsByName('Variables') ?? {};
  const reserved = Object.keys(environment).find((name) => reservedVariables.test(name));
  if (reserved !== undefined)
    throw new Error(`${where}: Environment has ${reserved}, which Lambda sets itself.`);
  const role = reader.referredTo(properties.text('Role'), `${where}.Role`, roleType).name;
  const timeoutSeconds = properties.optionalNumber('Timeout');
  const memoryMb = properties.optionalNumber('MemorySize');
  const maxConcurrency = properties.optionalNumber('ReservedConcurrentExecutions');
  const { environment: more, retryAfterSeconds: _, ...overrides } = reader.options.overrides?.[path] ?? {};
  return {
    entry,
    handler,
    bundled: true,
    runtime,
    role,
    ...(timeoutSeconds !== undefined && { timeoutSeconds }),
    ...(memoryMb !== undefined && { memoryMb }),
    ...(maxConcurrency !== undefined && { maxConcurrency }),
    ...overrides,
    environment: { ...environment, ...more },
  };
}

function describeEventSource(
  { properties }: Resource,
  reader: TemplateReader,
): SqsEventSourceDescription | StreamEventSourceDescription {
  const { where } = properties;
  if (properties.optionalFlag('Enabled') === false) {
    throw new Error(`${where}: Enabled is false, which is not known here.`);
  }
  const called = reader.referredTo(properties.text('FunctionName'), `${where}.FunctionName`, functionType);
  const batchSize = properties.optionalNumber('BatchSize');
  const responseTypes = properties.optionalTexts('FunctionResponseTypes') ?? [];
  const unknown = responseTypes.find((type) => type !== 'ReportBatchItemFailures');
  if (unknown !== undefined) throw new Error(`${where}: FunctionResponseTypes has '${unknown}'.`);
  const common = {
    function: called.name,
    ...(batchSize !== undefined && { batchSize }),
    reportBatchItemFailures: responseTypes.length > 0,
  };
  const source = reader.referredTo(
    properties.text('EventSourceArn'),
    `${where}.EventSourceArn`,
    queueType,
    ...tableTypes,
  );
  if (source.type !== queueType) return { stream: source.name, ...common, ...streamOptions(properties) };

  checkVisibility(source, called);
  const maxBatchingWindowSeconds = properties.optionalNumber('MaximumBatchingWindowInSeconds');
  const maxConcurrency = properties.optionalObject('ScalingConfig')?.optionalNumber('MaximumConcurrency');
  const { retryAfterSeconds = reader.options.retryAfterSeconds } =
    reader.options.overrides?.[called.path] ?? {};
  return {
    queue: source.name,
    ...common,
    ...(maxBatchingWindowSeconds !== undefined && { maxBatchingWindowSeconds }),
    ...(maxConcurrency !== undefined && { maxConcurrency }),
    ...(retryAfterSeconds !== undefined && { retryAfterSeconds }),
  };
}

/** Lambda refuses the mapping otherwise. */
function checkVisibility(queue: Resource, called: Resource): void {
  const visibilitySeconds = queue.properties.optionalNumber('VisibilityTimeout') ?? 30;
  const timeoutSeconds = called.properties.optionalNumber('Timeout') ?? 3;
  if (visibilitySeconds >= timeoutSeconds) return;
  throw new Error(
    `${queue.properties.where}: VisibilityTimeout is ${visibilitySeconds} s, less than the Timeout of ${called.properties.where}, ${timeoutSeconds} s.`,
  );
}

/** A negative number is no limit. */
const limit = (value: number | undefined): number | undefined =>
  value === undefined || value < 0 ? undefined : value;

function streamOptions(properties: PropertyReader) {
  properties.oneOf('StartingPosition', ['TRIM_HORIZON']);
  const maxRetryAttempts = limit(properties.optionalNumber('MaximumRetryAttempts'));
  const maxRecordAgeSeconds = limit(properties.optionalNumber('MaximumRecordAgeInSeconds'));
  const bisectBatchOnFunctionError = properties.optionalFlag('BisectBatchOnFunctionError');
  const parallelizationFactor = properties.optionalNumber('ParallelizationFactor');
  const filters = filtersOf(properties);
  return {
    ...(parallelizationFactor !== undefined && { parallelizationFactor }),
    ...(maxRetryAttempts !== undefined && { maxRetryAttempts }),
    ...(maxRecordAgeSeconds !== undefined && { maxRecordAgeSeconds }),
    ...(bisectBatchOnFunctionError !== undefined && { bisectBatchOnFunctionError }),
    ...(filters && { filters }),
  };
}

function filtersOf(properties: PropertyReader | undefined): FilterPattern[] | undefined {
  return properties
    ?.optionalObject('FilterCriteria')
    ?.objects('Filters')
    .map((filter) => JSON.parse(filter.text('Pattern')) as FilterPattern);
}

function describePipe({ properties }: Resource, reader: TemplateReader): PipeDescription {
  const { where } = properties;
  const queueOf = (arn: string, property: string): string =>
    reader.referredTo(arn, `${where}.${property}`, queueType).name;

  properties.optionalOneOf('DesiredState', ['RUNNING']);
  const source = properties.object('SourceParameters');
  const stream = source.object('DynamoDBStreamParameters');
  stream.oneOf('StartingPosition', ['TRIM_HORIZON']);
  const batchSize = stream.optionalNumber('BatchSize');
  const maxRetryAttempts = limit(stream.optionalNumber('MaximumRetryAttempts'));
  const maxRecordAgeSeconds = limit(stream.optionalNumber('MaximumRecordAgeInSeconds'));
  const bisectOnFailure =
    stream.optionalOneOf('OnPartialBatchItemFailure', ['AUTOMATIC_BISECT']) !== undefined;
  const deadLetterArn = stream.optionalObject('DeadLetterConfig')?.text('Arn');
  const filters = filtersOf(source);

  const target = properties.optionalObject('TargetParameters');
  const inputTemplate = target?.optionalText('InputTemplate');
  const message = target?.optionalObject('SqsQueueParameters');
  const messageGroupId = message?.optionalText('MessageGroupId');
  const messageDeduplicationId = message?.optionalText('MessageDeduplicationId');
  return {
    stream: reader.referredTo(properties.text('Source'), `${where}.Source`, ...tableTypes).name,
    queue: queueOf(properties.text('Target'), 'Target'),
    role: reader.referredTo(properties.text('RoleArn'), `${where}.RoleArn`, roleType).name,
    bisectOnFailure,
    ...(batchSize !== undefined && { batchSize }),
    ...(maxRetryAttempts !== undefined && { maxRetryAttempts }),
    ...(maxRecordAgeSeconds !== undefined && { maxRecordAgeSeconds }),
    ...(deadLetterArn !== undefined && { deadLetterQueue: queueOf(deadLetterArn, 'DeadLetterConfig') }),
    ...(filters && { filters }),
    ...(inputTemplate !== undefined && { inputTemplate }),
    ...(messageGroupId !== undefined && { messageGroupId }),
    ...(messageDeduplicationId !== undefined && { messageDeduplicationId }),
  };
}
