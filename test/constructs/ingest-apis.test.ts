import { Annotations as Advice, App, CfnParameter, Stack } from 'aws-cdk-lib';
import { Annotations, Match, Template } from 'aws-cdk-lib/assertions';
import { describe, expect, it } from 'vitest';
import { PaymentsStack } from '../../bin/payments-stack.ts';
import {
  FifoIngest,
  type HttpApiIngestProps,
  IdempotentQueue,
  type IdempotentQueueProps,
  type RestApiIngestProps,
} from '../../constructs/index.ts';
import { createStack } from './support.ts';

type Props = Partial<HttpApiIngestProps> | (Partial<RestApiIngestProps> & { via: 'rest-api' });

function create(props: Props = {}, queueProps: IdempotentQueueProps = {}, stack = createStack()) {
  const queue = new IdempotentQueue(stack, 'Orders', queueProps);
  const given = { queue, path: '/orders', authorizer: 'none', messageGroupId: 'orders', ...props };
  new FifoIngest(stack, 'Ingest', given as HttpApiIngestProps);
  return stack;
}

const warnings = (stack: Stack, id: string) =>
  Annotations.fromStack(stack).findWarning('*', Match.stringLikeRegexp(id));

/** What API Gateway writes for `format`: a variable that has no value becomes a dash. */
function logged(format: string, values: Readonly<Record<string, string>>): Record<string, string> {
  return JSON.parse(format.replace(/\$context\.[\w.]+/g, (name) => values[name] ?? '-'));
}

describe('the access log of an ingest', () => {
  const httpFormat = (stack: Stack): string => {
    const [stage] = Object.values(Template.fromStack(stack).findResources('AWS::ApiGatewayV2::Stage'));
    return stage?.Properties.AccessLogSettings.Format;
  };
  const restFormat = (stack: Stack): string => {
    const [stage] = Object.values(Template.fromStack(stack).findResources('AWS::ApiGateway::Stage'));
    return stage?.Properties.AccessLogSetting.Format;
  };

  it('names the route in the terms of each kind of API', () => {
    const http = logged(httpFormat(create()), { '$context.routeKey': 'POST /orders' });
    expect(http).toMatchObject({ route: 'POST /orders', error: '-' });
    const rest = logged(restFormat(create({ via: 'rest-api' })), { '$context.resourcePath': '/orders' });
    expect(rest).toMatchObject({ route: '/orders', error: '-' });
  });

  it.each([
    ['http-api', () => httpFormat(create())],
    ['rest-api', () => restFormat(create({ via: 'rest-api' }))],
  ])('stays JSON whatever a caller sends (%s)', (_, format) => {
    // These repeat what was sent, an Authorization header among others.
    const hostile = '"},{"status":"200';
    const line = logged(format(), {
      '$context.error.message': hostile,
      '$context.error.messageString': JSON.stringify(hostile),
      '$context.path': hostile,
      '$context.identity.userAgent': hostile,
      '$context.error.responseType': 'MISSING_AUTHENTICATION_TOKEN',
      '$context.status': '403',
    });
    expect(line).toMatchObject({ error: 'MISSING_AUTHENTICATION_TOKEN', status: '403' });
    expect(JSON.stringify(line)).not.toContain('200');
  });

  it('names the route in the payments stack', () => {
    const app = new App({ context: { 'aws:cdk:bundling-stacks': [] } });
    const format = httpFormat(new PaymentsStack(app, 'Payments'));
    expect(format).toContain('$context.routeKey');
    expect(format).not.toContain('$context.resourcePath');
  });
});

describe('an ingest through a REST API of its own', () => {
  it('is regional', () => {
    Template.fromStack(create({ via: 'rest-api' })).hasResourceProperties('AWS::ApiGateway::RestApi', {
      EndpointConfiguration: { Types: ['REGIONAL'] },
    });
  });

  it.each([
    [undefined, false, 1, 0],
    [undefined, true, 0, 1],
    [true, true, 1, 0],
    [false, true, 0, 0],
    [false, false, 0, 0],
  ])(
    "with cloudWatchRole %s and the CDK's flag against it %s sets the account's role %i times, with %i warnings",
    (cloudWatchRole, flag, accounts, warned) => {
      const context = { '@aws-cdk/aws-apigateway:disableCloudWatchRole': flag };
      const stack = new Stack(new App({ context }), 'Test');
      create({ via: 'rest-api', ...(cloudWatchRole !== undefined && { cloudWatchRole }) }, {}, stack);
      Template.fromStack(stack).resourceCountIs('AWS::ApiGateway::Account', accounts);
      expect(warnings(stack, 'idemkit:ingest:cloudwatch-role')).toHaveLength(warned);
    },
  );
});

describe('an ingest into a queue that takes ids from the content', () => {
  it('warns through an HTTP API of requests without the header, until that is acknowledged', () => {
    const stack = create({}, { contentBasedDeduplication: true });
    Template.fromStack(stack);
    expect(warnings(stack, 'without the header is taken in all the same')).toHaveLength(1);
    Advice.of(stack).acknowledgeWarning('idemkit:ingest:content-deduplication');
    expect(warnings(stack, 'without the header is taken in all the same')).toHaveLength(0);
  });

  it('does not warn through a REST API, which demands the header', () => {
    const stack = create({ via: 'rest-api' }, { contentBasedDeduplication: true });
    Template.fromStack(stack);
    expect(warnings(stack, 'without the header is taken in all the same')).toHaveLength(0);
  });
});

describe('an ingest with a value that is known only when it is deployed', () => {
  it('accepts it as the group', () => {
    const stack = createStack();
    const messageGroupId = new CfnParameter(stack, 'Group').valueAsString;
    create({ messageGroupId }, {}, stack);
    Template.fromStack(stack).hasResourceProperties('AWS::ApiGatewayV2::Integration', {
      RequestParameters: Match.objectLike({ MessageGroupId: { Ref: 'Group' } }),
    });
  });

  it.each([
    ['http-api', /A route path must always start with a "\/"/],
    ['rest-api', /path part only allow/],
  ] as const)('leaves its refusal as a path to the CDK (%s)', (via, message) => {
    const stack = createStack();
    const path = new CfnParameter(stack, 'Path').valueAsString;
    expect(() => create({ via, path } as Props, {}, stack)).toThrow(message);
  });
});
