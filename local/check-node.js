// Runs before the scripts that need Node 24, on whatever Node answers to `node` when that one is missing:
// plain JavaScript that Node 18 can read, and no imports from node_modules.
import { existsSync } from 'node:fs';

const installed = (name) => existsSync(new URL(`../node_modules/${name}/package.json`, import.meta.url));

/** Sources run unbuilt: types are stripped without a flag since Node 22.18 and 23.6. */
function runsTypeScript(version) {
  const [major, minor] = version.split('.').map(Number);
  return major > 23 || (major === 23 && minor >= 6) || (major === 22 && minor >= 18);
}

function findProblem() {
  if (!installed('devalue')) {
    return ['the dependencies are not installed.', 'run `npm ci`'];
  }
  if (!installed('vitest')) {
    return [
      'the development dependencies are not installed (`npm ci --omit=dev`, or NODE_ENV=production).',
      'run `npm ci --include=dev`',
    ];
  }
  if (!runsTypeScript(process.versions.node)) {
    const wanted = 'This project runs its TypeScript sources on Node 22.18 or later';
    return [
      installed('node')
        ? `${wanted}, and this is Node ${process.versions.node}: the dependency \`node\` is installed but has not fetched its binary, because install scripts are disabled (\`--ignore-scripts\`, or \`ignore-scripts\` in an .npmrc).`
        : `${wanted}, and this is Node ${process.versions.node}: the development dependency \`node\` is not installed.`,
      'run `npm ci --ignore-scripts=false`, or use Node 24 yourself',
    ];
  }
  return undefined;
}

const problem = findProblem();
if (problem !== undefined) {
  const [cause, fix] = problem;
  console.error(`\nCannot run: ${cause}\nTo fix it: ${fix}.\n`);
  process.exit(1);
}
