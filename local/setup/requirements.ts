import { findJavaProblem, howToGetJava, installJava, type JavaKind } from './java.ts';
import { reasonOf } from './npm-files.ts';

/** What a script needs of the machine, beside Node. */
export type Requirement = JavaKind | 'chromium';

/** What is missing, and what to do about it. */
export interface Problem {
  readonly cause: string;
  readonly fix: string;
}

/** Gets what is missing, where it can be got. @returns what could not be got first, or `undefined` */
export async function provide(requirements: readonly Requirement[]): Promise<Problem | undefined> {
  for (const requirement of requirements) {
    const problem = requirement === 'chromium' ? await provideChromium() : await provideJava(requirement);
    if (problem) return problem;
  }
  return undefined;
}

async function provideJava(kind: JavaKind): Promise<Problem | undefined> {
  // Whoever brings a DynamoDB may go without Java; the few tests that need it all the same say so.
  if (process.env.DYNAMODB_ENDPOINT) return undefined;
  if ((await findJavaProblem(kind)) === undefined) return undefined;
  const notInstalled = await installJava(kind);
  const problem = await findJavaProblem(kind);
  if (problem === undefined) return undefined;
  const cause = notInstalled ? `${problem}, and ${notInstalled}` : problem;
  return {
    cause: `DynamoDB Local needs Java 17 or later: ${cause}.`,
    fix: `${howToGetJava(kind)}, or set DYNAMODB_ENDPOINT to a DynamoDB that runs.`,
  };
}

async function provideChromium(): Promise<Problem | undefined> {
  // Its driver takes a while to load.
  const { findChromium } = await import('./chromium.ts');
  try {
    await findChromium();
    return undefined;
  } catch (error) {
    return { cause: 'The client and the pay page are tested in Chromium.', fix: reasonOf(error) };
  }
}
