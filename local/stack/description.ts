import type {
  Callers,
  FunctionDescription,
  LogLine,
  PipeDescription,
  QueueDescription,
  RoleDescription,
  Route,
  SqsEventSourceDescription,
  StreamEventSourceDescription,
  TableDescription,
  TopicDescription,
} from '../aws/index.ts';

/** A stack, in plain data: what there is and who calls whom. */
export interface StackDescription {
  /** A name alone is a table for records. */
  readonly tables?: readonly (string | TableDescription)[];
  readonly queues?: Readonly<Record<string, QueueDescription>>;
  readonly topics?: Readonly<Record<string, TopicDescription>>;
  /**
   * Base URLs of HTTP servers that functions call, by name. Where a function's environment has such a URL, the function
   * finds a proxy in front of it.
   */
  readonly upstreams?: Readonly<Record<string, string>>;
  /** Their environments may have what `queueUrl()`, `queueArn()` and `topicArn()` say. */
  readonly functions?: Readonly<Record<string, FunctionDescription>>;
  readonly eventSources?: readonly (SqsEventSourceDescription | StreamEventSourceDescription)[];
  readonly pipes?: Readonly<Record<string, PipeDescription>>;
  readonly routes?: readonly Route[];
  /** What functions, pipes and routes that name a role may do; those that name none may do everything. */
  readonly roles?: Readonly<Record<string, RoleDescription>>;
}

export interface StackOptions {
  /** A DynamoDB that already runs, over plain HTTP. @default `DYNAMODB_ENDPOINT`, else one is started */
  readonly dynamodbEndpoint?: string;
  /** Told every line that a function logs. */
  readonly onLog?: (line: LogLine) => void;
  /** What becomes of requests to routes that want credentials. @default 'refused' */
  readonly callers?: Callers;
}
