import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { StackDescription } from '../stack/index.ts';
import { describeApi } from './api.ts';
import { describeCompute } from './compute.ts';
import { describeData } from './data.ts';
import {
  type Assembly,
  openTemplate,
  type Resource,
  type Template,
  type TemplateOptions,
  tableTypes,
} from './reader.ts';
import { describeRoles } from './roles.ts';

/** A template's resources, as the local stack runs them. */
export interface DescribedTemplate {
  readonly description: StackDescription;
  /** Names of functions, queues and tables by their path in the CDK's tree, without the stack, e.g. `Ledger/DeadLetterQueue`. */
  readonly names: Readonly<
    Record<'functions' | 'pipes' | 'queues' | 'tables', Readonly<Record<string, string>>>
  >;
  readonly outputs: Readonly<Record<string, unknown>>;
}

/**
 * Reads what `cdk synth` has written.
 *
 * @throws Error when there is no such stack in the folder
 */
export function readAssembly(folder: string, stackName: string): Assembly {
  const path = join(folder, `${stackName}.template.json`);
  if (!existsSync(path)) throw new Error(`There is no ${path}: run cdk synth first.`);
  const template = JSON.parse(readFileSync(path, 'utf8')) as Template;
  const { files } = JSON.parse(readFileSync(join(folder, `${stackName}.assets.json`), 'utf8')) as {
    files: Record<string, { source: { path: string }; destinations: Record<string, { objectKey: string }> }>;
  };
  return {
    stackName,
    template,
    assetFolder(objectKey) {
      const asset = Object.values(files).find(({ destinations }) =>
        Object.values(destinations).some((destination) => destination.objectKey === objectKey),
      );
      if (asset === undefined) throw new Error(`There is no asset '${objectKey}' in ${folder}.`);
      return join(folder, asset.source.path);
    },
  };
}

/**
 * Describes the local stack that does what the template says.
 *
 * @throws Error that names the resource, the property and its value, for everything that is not known here
 */
export function describeTemplate(assembly: Assembly, options: TemplateOptions = {}): DescribedTemplate {
  const reader = openTemplate(assembly, options);
  const description: StackDescription = {
    roles: describeRoles(reader),
    ...describeData(reader),
    ...describeCompute(reader),
    routes: describeApi(reader),
  };
  reader.end();
  return {
    description,
    names: {
      functions: namesByPath(reader.of('AWS::Lambda::Function')),
      pipes: namesByPath(reader.of('AWS::Pipes::Pipe')),
      queues: namesByPath(reader.of('AWS::SQS::Queue')),
      tables: namesByPath(reader.of(...tableTypes)),
    },
    outputs: Object.fromEntries(
      Object.entries(assembly.template.Outputs ?? {}).map(([name, { Value }]) => [
        name,
        reader.resolve(Value, `Outputs.${name}`),
      ]),
    ),
  };
}

const namesByPath = (resources: readonly Resource[]): Record<string, string> =>
  Object.fromEntries(resources.map(({ path, name }) => [path, name]));
