// Runs before the scripts, on whatever Node answers to `node` when the dependency of that name is missing: plain JavaScript that Node 18 can
// read, and no imports from node_modules. What else a script needs of the machine are the arguments; it is installed where that can be done.
import { existsSync } from 'node:fs';

const installed = (name) => existsSync(new URL(`../../node_modules/${name}/package.json`, import.meta.url));

/** Sources run unbuilt: types are stripped without a flag since Node 22.18 and 23.6. */
function runsTypeScript(version) {
  const [major, minor] = version.split('.').map(Number);
  return major > 23 || (major === 23 && minor >= 6) || (major === 22 && minor >= 18);
}

function findProblem() {
  if (!installed('@types/aws-lambda')) {
    return { cause: 'the dependencies are not installed.', fix: 'run `npm ci`.' };
  }
  if (!installed('vitest')) {
    return {
      cause: 'the development dependencies are not installed (`npm ci --omit=dev`, or NODE_ENV=production).',
      fix: 'run `npm ci --include=dev`.',
    };
  }
  if (!runsTypeScript(process.versions.node)) {
    const wanted = 'This project runs its TypeScript sources on Node 22.18 or later';
    return {
      cause: installed('node')
        ? `${wanted}, and this is Node ${process.versions.node}: the dependency \`node\` is installed but has not fetched its binary, because install scripts are disabled (\`--ignore-scripts\`, or \`ignore-scripts\` in an .npmrc).`
        : `${wanted}, and this is Node ${process.versions.node}: the development dependency \`node\` is not installed.`,
      fix: 'run `npm ci --ignore-scripts=false`, or use Node 24 yourself.',
    };
  }
  return undefined;
}

/** The rest is TypeScript. */
async function provide(requirements) {
  const { provide } = await import('./requirements.ts');
  return provide(requirements);
}

const problem = findProblem() ?? (await provide(process.argv.slice(2)));
if (problem !== undefined) {
  console.error(`\nCannot run: ${problem.cause}\nTo fix it: ${problem.fix}\n`);
  process.exit(1);
}
