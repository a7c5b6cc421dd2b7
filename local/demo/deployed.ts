import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { App } from 'aws-cdk-lib';
import { PaymentsStack, type PaymentsStackProps } from '../../bin/payments-stack.ts';
import { type Stack, type StackOptions, startStack } from '../stack/index.ts';
import {
  type Assembly,
  type DescribedTemplate,
  describeTemplate,
  readAssembly,
  type TemplateOptions,
} from '../template/index.ts';

/** What `cdk synth` makes of an app, in a folder of its own. */
export interface Synthesized {
  readonly assembly: Assembly;
  /** Deletes the folder. Functions that have started need it no more; new processes of theirs do. */
  remove(): Promise<void>;
}

/** Synthesises a stack in this process, under the feature flags of `cdk.json`. It takes a few seconds, for the bundles. */
export async function synthesize(
  createStack: (app: App) => { readonly stackName: string },
): Promise<Synthesized> {
  const outdir = await mkdtemp(join(tmpdir(), 'idemkit-cdk-'));
  const remove = () => rm(outdir, { recursive: true, force: true });
  try {
    const { stackName } = await synthesizeInto(outdir, createStack);
    return { assembly: readAssembly(outdir, stackName), remove };
  } catch (error) {
    await remove();
    throw error;
  }
}

/** The same in a folder that is there. An app may have several stacks: what two of them bundle is bundled once. */
export async function synthesizeInto<Created>(
  outdir: string,
  create: (app: App) => Created,
): Promise<Created> {
  const { context } = JSON.parse(await readFile(new URL('../../cdk.json', import.meta.url), 'utf8'));
  const pathMetadata = { 'aws:cdk:enable-path-metadata': true };
  const app = new App({ outdir, context: { ...context, ...pathMetadata }, analyticsReporting: false });
  const created = create(app);
  app.synth();
  return created;
}

/** The app of `cdk.json`. */
export const synthesizePayments = (props: PaymentsStackProps = {}): Promise<Synthesized> =>
  synthesize((app) => new PaymentsStack(app, 'Payments', props));

export interface DeployedOptions extends StackOptions, TemplateOptions {
  /** @default the app of `cdk.json`, synthesised now */
  readonly assembly?: Assembly;
  /** What the app of `cdk.json` is given, such as `paymentsUrl`. Not with `assembly`. */
  readonly props?: PaymentsStackProps;
  /** Base URLs of servers that functions call, by name: faults can be injected there. @default `payments`, for `paymentsUrl` */
  readonly upstreams?: Readonly<Record<string, string>>;
}

export interface Deployed {
  readonly stack: Stack;
  /** Of functions, queues and tables on this machine. */
  readonly names: DescribedTemplate['names'];
  readonly described: DescribedTemplate;
  /** Ends the stack, and removes what was synthesised for it. */
  stop(): Promise<void>;
}

/**
 * Starts what the CDK app describes, on this machine: its tables, queues, bundles, event sources, pipes and routes, under its
 * policies.
 *
 * @throws Error with what in the template is not known here, or is missing on this machine
 */
export async function startDeployedStack(options: DeployedOptions = {}): Promise<Deployed> {
  const { assembly, props = {}, stackName, overrides, retryAfterSeconds, ...rest } = options;
  const { paymentsUrl } = props;
  const upstreams = rest.upstreams ?? (paymentsUrl === undefined ? {} : { payments: paymentsUrl });
  const synthesized = assembly === undefined ? await synthesizePayments(props) : undefined;
  try {
    const described = describeTemplate(assembly ?? (synthesized as Synthesized).assembly, {
      ...(stackName !== undefined && { stackName }),
      ...(overrides && { overrides }),
      ...(retryAfterSeconds !== undefined && { retryAfterSeconds }),
    });
    const stack = await startStack({ ...described.description, upstreams }, rest);
    return {
      stack,
      names: described.names,
      described,
      async stop() {
        await stack.stop();
        await synthesized?.remove();
      },
    };
  } catch (error) {
    await synthesized?.remove();
    throw error;
  }
}
