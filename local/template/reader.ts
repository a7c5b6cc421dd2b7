import {
  accountId,
  type FunctionDescription,
  queueArn,
  queueUrl,
  region,
  streamArn,
  tableArn,
} from '../aws/index.ts';
import { ignoredPropertiesOf, ignoredTypes } from './ignored.ts';
import { createResolver } from './intrinsics.ts';
import { type PropertyReader, readProperties } from './properties.ts';

/** A synthesised stack: its template, and where its assets lie. */
export interface Assembly {
  readonly stackName: string;
  readonly template: Template;
  /** The folder of a zipped asset, by the key that the template calls it by in S3. @throws Error when there is none */
  assetFolder(objectKey: string): string;
}

export interface Template {
  readonly Resources: Record<string, TemplateResource>;
  readonly Parameters?: Record<string, { readonly Type: string; readonly Default?: string }>;
  readonly Outputs?: Record<string, { readonly Value: unknown }>;
}

/** Of a resource, as the template has them. */
// biome-ignore lint/suspicious/noExplicitAny: every resource type has another shape.
export type Properties = Record<string, any>;

export interface TemplateResource {
  readonly Type: string;
  Properties?: Properties;
  readonly Metadata?: Readonly<Record<string, string>>;
  readonly Condition?: string;
}

export interface TemplateOptions {
  /** The stack's name, with which all names begin. For tables in a DynamoDB that others use as well. @default the assembly's */
  readonly stackName?: string;
  /** What is not as deployed, by the function's path in the CDK's tree: `ChargePayment`. */
  readonly overrides?: Readonly<Record<string, FunctionOverrides>>;
  /** Not in Lambda, which leaves failed messages to the visibility timeout: they come back after this time. */
  readonly retryAfterSeconds?: number;
}

export interface FunctionOverrides extends Pick<FunctionDescription, 'timeoutSeconds' | 'maxConcurrency'> {
  /** In addition to the template's. */
  readonly environment?: Readonly<Record<string, string>>;
  /** For the messages of this function, instead of the stack's. */
  readonly retryAfterSeconds?: number;
}

/** A resource that the local stack runs. */
export interface Resource {
  readonly id: string;
  readonly type: string;
  /** What CloudFormation would call it, or the template does. */
  readonly name: string;
  /** In the CDK's tree, without the stack and what the CDK appends. */
  readonly path: string;
  readonly properties: PropertyReader;
}

/** A template's resources, read one type at a time. */
export interface TemplateReader {
  readonly options: TemplateOptions;
  readonly assetFolder: Assembly['assetFolder'];
  of(...types: readonly string[]): readonly Resource[];
  /** The resource that an ARN, a name, or another reference of the template stands for. @throws Error when there is none */
  referredTo(reference: string, where: string, ...types: readonly string[]): Resource;
  resolve(value: unknown, where: string): unknown;
  /** @throws Error that names a property that nobody has read */
  end(): void;
}

/** @throws Error that names what is not known here */
export function openTemplate(assembly: Assembly, options: TemplateOptions): TemplateReader {
  const { template } = assembly;
  const stackName = options.stackName ?? assembly.stackName;
  const kept = Object.entries(template.Resources).filter(([, { Type }]) => !(Type in ignoredTypes));
  for (const [id, { Type, Condition }] of kept) {
    if (!(Type in kinds)) {
      throw new Error(
        `${id}: resources of type ${Type} are not known here, nor among those that are ignored.`,
      );
    }
    if (Condition !== undefined)
      throw new Error(`${id} (${Type}): Condition '${Condition}' is not known here.`);
  }

  const paths = pathsOf(kept);
  const names = new Map<string, string>();
  const resolve = createResolver(stackName, { ref, attribute });

  function find(id: string): TemplateResource {
    const found = template.Resources[id];
    if (found === undefined) throw new Error(`There is no resource or parameter '${id}' in the template.`);
    return found;
  }
  function nameOf(id: string): string {
    const known = names.get(id);
    if (known !== undefined) return known;
    const { Type, Properties = {} } = find(id);
    const { nameProperty, suffix } = kinds[Type] ?? {};
    const explicit = nameProperty && resolve(Properties[nameProperty], `${id}.${nameProperty}`);
    const generated = `${stackName}-${(paths.get(id) ?? id).replaceAll('/', '-')}${suffix?.(Properties) ?? ''}`;
    const name = typeof explicit === 'string' ? explicit : generated;
    names.set(id, name);
    return name;
  }
  function ref(id: string): string {
    const parameter = template.Parameters?.[id];
    if (parameter?.Type === 'String' && parameter.Default !== undefined) return parameter.Default;
    return kinds[find(id).Type]?.ref?.(nameOf(id)) ?? nameOf(id);
  }
  function attribute(id: string, name: string): string {
    const { Type } = find(id);
    const value = kinds[Type]?.attributes?.[name];
    if (value !== undefined) return value(nameOf(id));
    if (Type === 'AWS::Logs::LogGroup' && name === 'Arn') {
      return `arn:aws:logs:${region}:${accountId}:log-group:${nameOf(id)}:*`;
    }
    throw new Error(`${id} (${Type}): the attribute ${name} is not known here.`);
  }

  const resources = kept.map(([id, { Type, Properties = {} }]): Resource => {
    const where = `${id} (${Type})`;
    const values = resolve(Properties, where) as Record<string, unknown>;
    const { nameProperty } = kinds[Type] ?? {};
    const ignored = [...ignoredPropertiesOf(Type), ...(nameProperty === undefined ? [] : [nameProperty])];
    return {
      id,
      type: Type,
      name: nameOf(id),
      path: paths.get(id) ?? id,
      properties: readProperties(where, values, ignored),
    };
  });
  const reader: TemplateReader = {
    options,
    assetFolder: assembly.assetFolder,
    resolve,
    end() {
      for (const { properties } of resources) properties.end();
    },
    of: (...types) => resources.filter(({ type }) => types.includes(type)),
    referredTo(reference, where, ...types) {
      const found = reader
        .of(...types)
        .find(({ id, name, type }) =>
          [name, ref(id), ...Object.values(kinds[type]?.attributes ?? {}).map((of) => of(name))].includes(
            reference,
          ),
        );
      if (found === undefined)
        throw new Error(`${where}: '${reference}' is none of this template's ${types[0]}.`);
      return found;
    },
  };

  return reader;
}

/** What the CDK appends to the path of what somebody has named. */
const appended = /\/(?:Resource|Function|Queue|Table|Pipe)$/;

/** Paths that two resources of one type share say nothing: these have their logical ids. */
function pathsOf(resources: readonly (readonly [string, TemplateResource])[]): Map<string, string> {
  const paths = new Map<string, string>();
  const taken = new Set<string>();
  for (const [id, { Type, Metadata }] of resources) {
    let path = String(Metadata?.['aws:cdk:path'] ?? id).replace(/^[^/]+\/(?=.)/, '');
    while (appended.test(path)) path = path.replace(appended, '');
    if (taken.has(`${Type} ${path}`)) path = id;
    taken.add(`${Type} ${path}`);
    paths.set(id, path);
  }
  return paths;
}

interface Kind {
  /** The property that may say the name. */
  readonly nameProperty?: string;
  /** What a generated name must end with. */
  readonly suffix?: (properties: Record<string, unknown>) => string;
  /** What `Ref` returns. @default the name */
  readonly ref?: (name: string) => string;
  readonly attributes?: Readonly<Record<string, (name: string) => string>>;
}

export const tableTypes = ['AWS::DynamoDB::GlobalTable', 'AWS::DynamoDB::Table'] as const;

const table: Kind = {
  nameProperty: 'TableName',
  attributes: { Arn: tableArn, StreamArn: streamArn },
};

/** The resource types that are known, with what `Ref` and `Fn::GetAtt` say of them. */
const kinds: Readonly<Record<string, Kind>> = {
  'AWS::ApiGatewayV2::Api': {
    ref: () => 'local',
    attributes: {
      ApiId: () => 'local',
      ApiEndpoint: () => `https://local.execute-api.${region}.amazonaws.com`,
    },
  },
  'AWS::ApiGatewayV2::Integration': {},
  'AWS::ApiGatewayV2::Route': {},
  'AWS::ApiGatewayV2::Stage': {},
  'AWS::DynamoDB::GlobalTable': table,
  'AWS::DynamoDB::Table': table,
  'AWS::IAM::ManagedPolicy': { ref: (name) => `arn:aws:iam::${accountId}:policy/${name}` },
  'AWS::IAM::Policy': { nameProperty: 'PolicyName' },
  'AWS::IAM::Role': {
    nameProperty: 'RoleName',
    attributes: { Arn: (name) => `arn:aws:iam::${accountId}:role/${name}` },
  },
  'AWS::Lambda::EventSourceMapping': {},
  'AWS::Lambda::Function': {
    nameProperty: 'FunctionName',
    attributes: { Arn: (name) => `arn:aws:lambda:${region}:${accountId}:function:${name}` },
  },
  'AWS::Lambda::Permission': {},
  'AWS::Pipes::Pipe': {
    nameProperty: 'Name',
    attributes: { Arn: (name) => `arn:aws:pipes:${region}:${accountId}:pipe/${name}` },
  },
  'AWS::SQS::Queue': {
    nameProperty: 'QueueName',
    suffix: ({ FifoQueue }) => (FifoQueue === true ? '.fifo' : ''),
    ref: queueUrl,
    attributes: { Arn: queueArn, QueueName: (name) => name, QueueUrl: queueUrl },
  },
  'AWS::SQS::QueuePolicy': {},
};
