import { accountId, matchesWildcards, type Route, region } from '../aws/index.ts';
import type { Resource, TemplateReader } from './reader.ts';

/** The routes of the template's HTTP API. Without a stage an API answers nothing. */
export function describeApi(reader: TemplateReader): Route[] {
  const [api, ...others] = reader.of('AWS::ApiGatewayV2::Api');
  if (others.length > 0)
    throw new Error(`There are APIs besides ${api?.id}: ${others.map(({ id }) => id).join(', ')}.`);
  api?.properties.oneOf('ProtocolType', ['HTTP']);
  const permissions = reader.of('AWS::Lambda::Permission').map(readPermission);
  const integrations = new Map(
    reader
      .of('AWS::ApiGatewayV2::Integration')
      .map((integration) => [integration.name, readIntegration(integration, reader)]),
  );
  const stages = reader.of('AWS::ApiGatewayV2::Stage');
  for (const { properties } of stages) {
    properties.text('ApiId');
    properties.oneOf('StageName', ['$default']);
    if (properties.optionalFlag('AutoDeploy') !== true) {
      throw new Error(`${properties.where}: AutoDeploy is not true, and deployments are not known here.`);
    }
  }

  const routes = reader.of('AWS::ApiGatewayV2::Route').map(({ properties }): Route => {
    properties.text('ApiId');
    const [, method, path] = /^([A-Z]+) (\/[^{}]*)$/.exec(properties.text('RouteKey')) ?? [];
    if (method === undefined || path === undefined || method === 'ANY') {
      throw new Error(
        `${properties.where}: RouteKey is '${properties.text('RouteKey')}'; known are one method and a path without parameters.`,
      );
    }
    const authorization = properties.optionalOneOf('AuthorizationType', ['NONE', 'AWS_IAM', 'JWT']) ?? 'NONE';
    if (authorization === 'JWT') properties.optionalText('AuthorizerId');
    const target = properties.text('Target');
    const integration = integrations.get(target.replace(/^integrations\//, ''));
    if (integration === undefined)
      throw new Error(`${properties.where}: Target '${target}' is no integration.`);
    const common = { method, path, authorization };
    if ('queue' in integration) return { ...common, ...integration };
    const route = `arn:aws:execute-api:${region}:${accountId}:local/$default/${method}${path}`;
    const mayInvoke = permissions.some((permits) => permits(integration.arn, route));
    return { ...common, function: integration.function, mayInvoke };
  });
  return stages.length === 0 ? [] : routes;
}

type Permits = (functionArn: string, source: string) => boolean;

function readPermission({ properties }: Resource): Permits {
  properties.oneOf('Action', ['lambda:InvokeFunction']);
  properties.oneOf('Principal', ['apigateway.amazonaws.com']);
  const functionName = properties.text('FunctionName');
  const sourceArn = properties.optionalText('SourceArn') ?? '*';
  return (functionArn, source) =>
    (functionName === functionArn || functionArn.endsWith(`:function:${functionName}`)) &&
    matchesWildcards(sourceArn, source);
}

type Integration =
  | { readonly function: string; readonly arn: string }
  | {
      readonly queue: string;
      readonly role: string;
      readonly messageBody: string;
      readonly messageGroupId?: string;
      readonly messageDeduplicationId?: string;
    };

function readIntegration({ properties }: Resource, reader: TemplateReader): Integration {
  const { where } = properties;
  properties.text('ApiId');
  properties.oneOf('IntegrationType', ['AWS_PROXY']);
  if (properties.optionalOneOf('IntegrationSubtype', ['SQS-SendMessage']) === undefined) {
    properties.oneOf('PayloadFormatVersion', ['2.0']);
    const arn = properties.text('IntegrationUri');
    return { function: reader.referredTo(arn, `${where}.IntegrationUri`, 'AWS::Lambda::Function').name, arn };
  }
  properties.oneOf('PayloadFormatVersion', ['1.0']);
  properties.optionalOneOf('ConnectionType', ['INTERNET']);
  const parameters = properties.object('RequestParameters');
  const messageGroupId = parameters.optionalText('MessageGroupId');
  const messageDeduplicationId = parameters.optionalText('MessageDeduplicationId');
  return {
    queue: reader.referredTo(parameters.text('QueueUrl'), `${where}.QueueUrl`, 'AWS::SQS::Queue').name,
    role: reader.referredTo(properties.text('CredentialsArn'), `${where}.CredentialsArn`, 'AWS::IAM::Role')
      .name,
    messageBody: parameters.text('MessageBody'),
    ...(messageGroupId !== undefined && { messageGroupId }),
    ...(messageDeduplicationId !== undefined && { messageDeduplicationId }),
  };
}
