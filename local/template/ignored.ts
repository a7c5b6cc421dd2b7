/**
 * What a template may say and the local stack does not do. Everything that is neither done nor named here is an error.
 */

/** Resource types, and why nothing here depends on them. */
export const ignoredTypes: Readonly<Record<string, string>> = {
  'AWS::CDK::Metadata': 'statistics of the CDK',
  'AWS::CloudWatch::Alarm': 'watches, and changes nothing',
  'AWS::CloudWatch::Dashboard': 'shows, and changes nothing',
  'AWS::Logs::LogGroup': 'lines are handed to who started the stack',
};

/** Properties by resource type, and why they change nothing that a caller or a function can see here. */
const ignoredProperties: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  'AWS::ApiGatewayV2::Api': {
    Name: 'a label',
    Description: 'a label',
  },
  'AWS::ApiGatewayV2::Stage': {
    AccessLogSettings: 'nothing writes access logs',
    DefaultRouteSettings: 'throttling is best effort, says AWS: a target, no ceiling',
  },
  'AWS::DynamoDB::GlobalTable': {
    'Replicas[0].DeletionProtectionEnabled': 'nobody deletes the table while it is in use',
    'Replicas[0].PointInTimeRecoverySpecification': 'there are no backups',
    'Replicas[0].ContributorInsightsSpecification': 'watches, and changes nothing',
  },
  'AWS::DynamoDB::Table': {
    DeletionProtectionEnabled: 'nobody deletes the table while it is in use',
    PointInTimeRecoverySpecification: 'there are no backups',
  },
  'AWS::IAM::Role': {
    Description: 'a label',
  },
  'AWS::Lambda::Function': {
    Description: 'a label',
    Architectures: "JavaScript runs on each of them; here on this machine's",
    LoggingConfig: 'lines are handed to who started the stack',
    TracingConfig: 'nothing collects traces',
  },
  'AWS::Lambda::EventSourceMapping': {
    StartingPositionTimestamp: 'goes with a starting position that is not known here',
  },
  'AWS::Pipes::Pipe': {
    Description: 'a label',
    LogConfiguration: 'lines are handed to who started the stack',
    'SourceParameters.DynamoDBStreamParameters.ParallelizationFactor':
      'partition keys are read one after the other, which is one of the orders that Pipes may take',
  },
  'AWS::SQS::Queue': {
    SqsManagedSseEnabled: 'encryption at rest, with keys that nobody is asked for',
  },
};

export const ignoredPropertiesOf = (type: string): readonly string[] => [
  'Tags',
  ...Object.keys(ignoredProperties[type] ?? {}),
];
