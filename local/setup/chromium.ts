import { execFile } from 'node:child_process';
import { createReadStream, createWriteStream, existsSync } from 'node:fs';
import { chmod, mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { promisify } from 'node:util';
import { createBrotliDecompress } from 'node:zlib';
import { type Browser, chromium } from 'playwright-core';
import { aptInstall } from './debian.ts';
import { exists, installNpmFiles } from './npm-files.ts';

const run = promisify(execFile);

/** Where Debian, Chrome's own packages and macOS put it. */
const places = [
  '/usr/bin/chromium',
  '/usr/bin/google-chrome',
  '/Applications/Chromium.app/Contents/MacOS/Chromium',
  '/Applications/Google Chrome.app/Contents/MacOS/Google Chrome',
];

/** A Chromium for Linux on x64. Its package is made for Lambda, so it needs nothing else installed. */
const portable = {
  title: 'Chromium',
  cacheName: 'chromium',
  spec: '@sparticuz/chromium@153.0.0',
  integrity:
    'sha512-jiGWqSvPMdu4+P9TilYqAR7yEGPEHINx+lCvE/NqNO/EHYzF/x1hUiI5T6ioVIt7dEy7n88byyT0vk+dnsgQwA==',
  folder: 'bin',
  downloadMegabytes: 70,
  diskMegabytes: 300,
  otherwise:
    'or install Chromium (Debian: apt-get install chromium), or set CHROMIUM_PATH to a Chromium or Chrome.',
} as const;

interface Executable {
  readonly path: string;
  readonly environment: Readonly<Record<string, string>>;
}

/**
 * Finds a Chromium, or gets one: that of `CHROMIUM_PATH`, else the installed one, else one that is downloaded once into a cache. Where there
 * is none to download, root on Debian installs it.
 *
 * @throws Error when there is none; the message says how to get it.
 */
export async function findChromium(): Promise<Executable> {
  const given = process.env.CHROMIUM_PATH;
  if (given && !(await exists(given))) {
    throw new Error(`There is no Chromium at CHROMIUM_PATH, which is '${given}'. Correct it, or unset it.`);
  }
  const path = given || places.find((place) => existsSync(place));
  if (path) return { path, environment: {} };
  if (process.platform === 'linux' && process.arch === 'x64') {
    const folder = await installNpmFiles(portable, { prepare: unpack });
    return {
      path: join(folder, 'chromium'),
      environment: {
        LD_LIBRARY_PATH: [process.env.LD_LIBRARY_PATH, join(folder, 'lib')].filter(Boolean).join(':'),
        FONTCONFIG_PATH: folder,
      },
    };
  }
  const problem = await aptInstall('chromium');
  if (problem === undefined) return { path: '/usr/bin/chromium', environment: {} };
  throw new Error(
    `There is no Chromium, and none to download for this machine (${problem}). Install it (Debian: apt-get install chromium), or set CHROMIUM_PATH to a Chromium or Chrome.`,
  );
}

/** A browser without a window. @throws Error as {@link findChromium} */
export async function launchChromium(): Promise<Browser> {
  const { path, environment } = await findChromium();
  return chromium.launch({
    executablePath: path,
    env: { ...process.env, ...environment },
    // Chromium's sandbox refuses to run as root.
    args: process.getuid?.() === 0 ? ['--no-sandbox'] : [],
  });
}

async function unpack(folder: string): Promise<void> {
  const decompress = async (name: string): Promise<string> => {
    const to = join(folder, name);
    await pipeline(createReadStream(`${to}.br`), createBrotliDecompress(), createWriteStream(to));
    await rm(`${to}.br`);
    return to;
  };
  await chmod(await decompress('chromium'), 0o755);
  for (const name of ['al2023.tar', 'fonts.tar', 'swiftshader.tar']) {
    const tar = await decompress(name);
    await run('tar', ['-xf', tar, '-C', folder]);
    await rm(tar);
  }
  // The one it brings looks for fonts where Lambda has them.
  await mkdir(join(folder, 'fonts'), { recursive: true });
  await writeFile(
    join(folder, 'fonts.conf'),
    `<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig><dir prefix="relative">fonts</dir><cachedir prefix="xdg">fontconfig</cachedir></fontconfig>
`,
  );
}
