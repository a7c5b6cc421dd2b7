/** The files of the page. In the package they lie beside this file; from the sources they are bundled when the page is asked for. */
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';

export interface Asset {
  readonly type: string;
  readonly content: string;
}

export type Assets = ReadonlyMap<string, Asset>;

const types = { html: 'text/html', css: 'text/css', js: 'text/javascript' } as const;

export async function pageAssets(): Promise<Assets> {
  const texts = existsSync(new URL('./app/app.js', import.meta.url))
    ? await packedTexts()
    : await builtTexts();
  return new Map(
    Object.entries(texts).map(([name, content]) => {
      const type = types[name.slice(name.lastIndexOf('.') + 1) as keyof typeof types];
      return [name === 'index.html' ? '/' : `/${name}`, { type, content }];
    }),
  );
}

export type Texts = Readonly<Record<'index.html' | 'page.css' | 'app.js', string>>;

async function packedTexts(): Promise<Texts> {
  const read = (name: string) => readFile(new URL(`./app/${name}`, import.meta.url), 'utf8');
  const [html, css, js] = await Promise.all([read('index.html'), read('page.css'), read('app.js')]);
  return { 'index.html': html, 'page.css': css, 'app.js': js };
}

/** The package has no bundler: only the sources come here. */
async function builtTexts(): Promise<Texts> {
  const builder = new URL('../../build/page.ts', import.meta.url).href;
  const { buildPage } = (await import(builder)) as { buildPage: () => Promise<Texts> };
  return buildPage();
}
