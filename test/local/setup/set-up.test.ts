import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';

const script = fileURLToPath(new URL('../../../local/setup/set-up.js', import.meta.url));

/** A machine with nothing on its path but what a test puts there. */
let machine: string;
beforeEach(async () => {
  machine = await mkdtemp(join(tmpdir(), 'idemkit-machine-'));
});
afterEach(() => rm(machine, { recursive: true, force: true }));

const command = async (name: string, code: string): Promise<void> => {
  await writeFile(join(machine, name), `#!/bin/sh\n${code}\n`);
  await chmod(join(machine, name), 0o755);
};

/** A launcher that says this version, and names its modules. */
const java = (version: string, modules = 'java.base@17'): string =>
  `case "$1" in -version) echo 'openjdk version "${version}"' >&2;; --list-modules) echo '${modules}';; esac`;

interface Ran {
  readonly exitCode: number;
  readonly said: string;
}

/** Runs the check that a script of package.json runs first. */
async function setUp(
  requirements: readonly string[],
  { isRoot = true, environment = {} }: { isRoot?: boolean; environment?: NodeJS.ProcessEnv } = {},
): Promise<Ran> {
  const user = `data:text/javascript,process.getuid = () => ${isRoot ? 0 : 1000}`;
  const child = spawn(process.execPath, ['--import', user, script, ...requirements], {
    env: { PATH: machine, HOME: machine, ...environment },
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let said = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    said += text;
  });
  const [exitCode] = (await once(child, 'close')) as [number];
  return { exitCode, said };
}

const aptCalls = (): string[] => {
  const log = join(machine, 'apt.log');
  return existsSync(log) ? readFileSync(log, 'utf8').trim().split('\n') : [];
};

/** An `apt-get` that knows one package, which brings a launcher along. */
const aptGet = (known: string, launcher: string): Promise<void> =>
  command(
    'apt-get',
    `echo "$*" >> ${machine}/apt.log
[ "$1" = update ] && exit 0
if [ "$4" != ${known} ]; then echo "E: Unable to locate package $4" >&2; exit 100; fi
/bin/cat > ${machine}/java <<'LAUNCHER'
#!/bin/sh
${launcher}
LAUNCHER
/bin/chmod +x ${machine}/java`,
  );

describe('setting up where Java is missing', () => {
  test('installs it for root on Debian', async () => {
    await aptGet('openjdk-17-jre-headless', java('17.0.1'));
    expect(await setUp(['jre'])).toEqual({
      exitCode: 0,
      said: 'Installing openjdk-17-jre-headless with apt-get\n',
    });
    expect(aptCalls()).toEqual(['update', 'install -y --no-install-recommends openjdk-17-jre-headless']);
  });

  test('installs a later version where the release has no other', async () => {
    await aptGet('default-jdk-headless', java('25.0.1', 'jdk.compiler@25'));
    expect(await setUp(['jdk'])).toMatchObject({ exitCode: 0 });
    expect(aptCalls().slice(1)).toEqual([
      'install -y --no-install-recommends openjdk-17-jdk-headless',
      'install -y --no-install-recommends default-jdk-headless',
    ]);
  });

  test('tells anybody else the one command', async () => {
    await aptGet('openjdk-17-jre-headless', java('17.0.1'));
    const { exitCode, said } = await setUp(['jre'], { isRoot: false });
    expect(exitCode).toBe(1);
    expect(said).toMatch(
      /^\nCannot run: DynamoDB Local needs Java 17 or later: 'java' does not run \(.*ENOENT\), and only root can install packages\.\nTo fix it: Install a Java 17 runtime \(Debian: apt-get install openjdk-17-jre-headless\), or set DYNAMODB_ENDPOINT to a DynamoDB that runs\.\n\n$/,
    );
    expect(aptCalls()).toEqual([]);
  });

  test('tells root the command where apt-get is missing or has no Java', async () => {
    expect((await setUp(['jre'])).said).toContain('and this is no Debian: there is no apt-get.\nTo fix it:');
    await aptGet('none', '');
    const { exitCode, said } = await setUp(['jre']);
    expect(exitCode).toBe(1);
    expect(said).toContain('and E: Unable to locate package default-jre-headless.\nTo fix it:');
  });

  test('installs nothing for a DynamoDB that runs elsewhere', async () => {
    const environment = { DYNAMODB_ENDPOINT: 'http://localhost:8000' };
    expect(await setUp(['jdk'], { environment })).toEqual({ exitCode: 0, said: '' });
  });
});

describe('setting up where a Java is installed', () => {
  test('uses it unchanged', async () => {
    await command('java', java('21.0.2', 'jdk.compiler@21'));
    expect(await setUp(['jre', 'jdk'])).toEqual({ exitCode: 0, said: '' });
  });

  test.each([
    ['jre', 'too old', java('11.0.22'), "'java' is Java 11"],
    ['jdk', 'without a compiler', java('17.0.1'), "'java' has no compiler"],
  ])('replaces or refuses by name, for the %s, one that is %s', async (kind, _, launcher, problem) => {
    await command('java', launcher);
    expect((await setUp([kind])).said).toContain(`DynamoDB Local needs Java 17 or later: ${problem}, and`);
    await aptGet(`openjdk-17-${kind}-headless`, java('17.0.1', 'jdk.compiler@17'));
    expect(await setUp([kind])).toMatchObject({ exitCode: 0 });
  });
});

describe('the Chromium of the tests', () => {
  test('is the one that CHROMIUM_PATH names', async () => {
    await command('my-chromium', '');
    const environment = { CHROMIUM_PATH: join(machine, 'my-chromium') };
    expect(await setUp(['chromium'], { environment })).toEqual({ exitCode: 0, said: '' });
  });

  test('is refused where CHROMIUM_PATH names nothing', async () => {
    const { exitCode, said } = await setUp(['chromium'], { environment: { CHROMIUM_PATH: '/nowhere' } });
    expect(exitCode).toBe(1);
    expect(said).toContain("There is no Chromium at CHROMIUM_PATH, which is '/nowhere'.");
  });
});
