import { loadAwsServiceSpec } from '@aws-cdk/aws-service-spec';

/** A type of a property, as CloudFormation's schemas have it. */
type Type =
  | { readonly type: 'string' | 'integer'; readonly allowedValues?: readonly unknown[] }
  | { readonly type: 'number' | 'boolean' | 'json' | 'date-time' | 'null' | 'tag' }
  | { readonly type: 'array' | 'map'; readonly element: Type }
  | { readonly type: 'union'; readonly types: readonly Type[] }
  | { readonly type: 'ref'; readonly reference: { readonly $ref: string } };

type Properties = Readonly<
  Record<
    string,
    { readonly type: Type; readonly previousTypes?: readonly Type[]; readonly required?: boolean }
  >
>;

interface Resource {
  readonly Type: string;
  readonly Properties?: Readonly<Record<string, unknown>>;
  readonly [member: string]: unknown;
}

export interface CloudFormationTemplate {
  readonly Resources: Readonly<Record<string, Resource>>;
  readonly Parameters?: Readonly<Record<string, unknown>>;
  readonly [member: string]: unknown;
}

const spec = await loadAwsServiceSpec();

const schemaOf = (type: string) =>
  spec.lookup('resource', 'cloudFormationType', 'equals', type)[0] as
    | {
        readonly properties: Properties;
        readonly attributes: Readonly<Record<string, unknown>>;
        readonly isStateful?: boolean;
      }
    | undefined;

/** Whether CloudFormation knows that resources of this type hold data. */
export const isStateful = (type: string): boolean => schemaOf(type)?.isStateful === true;

/**
 * What CloudFormation's schemas say against a template: unknown types, properties and attributes, missing properties, values of another type or
 * none of those that are allowed, and references to nothing. What an intrinsic function returns is not looked at.
 */
export function problemsOf(template: CloudFormationTemplate): string[] {
  return Object.entries(template.Resources).flatMap(([id, resource]) => {
    const schema = schemaOf(resource.Type);
    if (schema === undefined) return [`${id}: there is no ${resource.Type}`];
    return [
      ...checkObject(resource.Properties ?? {}, schema.properties, id),
      ...checkReferences(resource, template, id),
    ];
  });
}

function checkObject(value: unknown, properties: Properties, at: string): string[] {
  if (!isObject(value)) return [`${at} is no object`];
  const problems = Object.entries(properties).flatMap(([name, { required }]) =>
    required && value[name] === undefined ? [`${at}.${name} is missing`] : [],
  );
  for (const [name, member] of Object.entries(value)) {
    const property = Object.hasOwn(properties, name) ? properties[name] : undefined;
    problems.push(
      ...(property
        ? checkAny(member, [property.type, ...(property.previousTypes ?? [])], `${at}.${name}`)
        : [`there is no ${at}.${name}`]),
    );
  }
  return problems;
}

/** @returns the problems of the type that fits best, the current one first */
function checkAny(value: unknown, types: readonly Type[], at: string): string[] {
  const found = types.map((type) => checkValue(value, type, at));
  return found.find((problems) => problems.length === 0) ?? found[0] ?? [];
}

function checkValue(value: unknown, type: Type, at: string): string[] {
  if (isIntrinsic(value)) return [];
  switch (type.type) {
    case 'json':
      return [];
    case 'union':
      return checkAny(value, type.types, at);
    case 'ref':
      return checkObject(
        value,
        (spec.get('typeDefinition', type.reference.$ref) as { properties: Properties }).properties,
        at,
      );
    case 'tag':
      return checkObject(
        value,
        { Key: { type: { type: 'string' } }, Value: { type: { type: 'string' } } },
        at,
      );
    case 'array':
      return Array.isArray(value)
        ? value.flatMap((item, index) => checkValue(item, type.element, `${at}[${index}]`))
        : [`${at} is no list`];
    case 'map':
      return isObject(value)
        ? Object.entries(value).flatMap(([name, item]) => checkValue(item, type.element, `${at}.${name}`))
        : [`${at} is no map`];
    default: {
      const fits =
        type.type === 'integer'
          ? Number.isInteger(value)
          : type.type === 'null'
            ? value === null
            : typeof value === (type.type === 'date-time' ? 'string' : type.type);
      if (!fits) return [`${at} is ${JSON.stringify(value)}, no ${type.type}`];
      const allowed = 'allowedValues' in type ? type.allowedValues : undefined;
      return allowed && !allowed.includes(value)
        ? [`${at} is ${JSON.stringify(value)}, none of ${allowed.join(', ')}`]
        : [];
    }
  }
}

/** References to resources and their attributes, wherever they are in `value`. */
function checkReferences(value: unknown, template: CloudFormationTemplate, at: string): string[] {
  if (Array.isArray(value)) return value.flatMap((item) => checkReferences(item, template, at));
  if (!isObject(value)) return [];
  const { Ref, 'Fn::GetAtt': attribute } = value;
  if (typeof Ref === 'string') {
    const isThere =
      Ref.startsWith('AWS::') ||
      Object.hasOwn(template.Resources, Ref) ||
      Object.hasOwn(template.Parameters ?? {}, Ref);
    return isThere ? [] : [`${at} refers to '${Ref}', which is not there`];
  }
  if (attribute !== undefined) {
    const [id = '', name = ''] = attribute as string[];
    const target = Object.hasOwn(template.Resources, id) ? template.Resources[id] : undefined;
    if (target === undefined) return [`${at} refers to '${id}', which is not there`];
    const { attributes = {}, properties = {} } = schemaOf(target.Type) ?? {};
    return Object.hasOwn(attributes, name) || Object.hasOwn(properties, name)
      ? []
      : [`${at} refers to ${name} of '${id}', and ${target.Type} has no such attribute`];
  }
  return Object.values(value).flatMap((item) => checkReferences(item, template, at));
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

function isIntrinsic(value: unknown): boolean {
  const names = isObject(value) ? Object.keys(value) : [];
  return names.length === 1 && (names[0] === 'Ref' || names[0]?.startsWith('Fn::') === true);
}
