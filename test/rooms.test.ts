/** The house's plan: which room may import which. `CONTRIBUTING.md` shows the same picture. */
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import { describe, expect, test } from 'vitest';

/** A room may import the rooms that are listed, and the files at the folder's own level that all rooms share. */
const plans: Readonly<Record<string, Readonly<Record<string, readonly string[]>>>> = {
  lib: {
    guard: ['engine', 'http', 'events', 'observe', 'sequence', 'dynamo', 'store'],
    batch: ['operation', 'engine', 'events'],
    messages: ['operation', 'events', 'store'],
    simulate: ['guard', 'operation', 'observe', 'store'],
    sequence: ['engine', 'events', 'dynamo'],
    command: ['page', 'simulate'],
    page: ['simulate'],
    http: ['engine', 'events'],
    operation: ['engine', 'dynamo', 'store'],
    engine: ['store', 'observe'],
    dynamo: ['store'],
    testing: ['store'],
    events: [],
    store: [],
    observe: [],
    node: ['client'],
    client: [],
  },
  local: {
    soak: ['demo', 'stack'],
    demo: ['stack', 'template'],
    template: ['stack', 'aws'],
    stack: ['aws', 'faults'],
    aws: ['faults', 'setup'],
    faults: [],
    setup: [],
  },
};

/** Names only: they may take them from any room. */
const entries = ['index', 'client', 'client-node', 'store', 'testing'];

interface Import {
  readonly from: string;
  readonly to: string;
}

const filesUnder = (folder: string): string[] =>
  readdirSync(folder).flatMap((name) => {
    const path = join(folder, name);
    if (statSync(path).isDirectory()) return filesUnder(path);
    return /\.(?:ts|js)$/.test(name) ? [path] : [];
  });

/** Imports of the files under a folder, types included. */
function importsFrom(folder: string): Import[] {
  return filesUnder(folder).flatMap((from) =>
    [...readFileSync(from, 'utf8').matchAll(/(?:from|import|import\()\s*'(\.{1,2}\/[^']+)'/g)].map(
      ([, target = '']) => ({ from, to: normalize(join(dirname(from), target)) }),
    ),
  );
}

const importsIn = (folder: string): Import[] =>
  importsFrom(folder).filter(({ to }) => to.startsWith(`${folder}/`));

/** The room that a file is in; `undefined` for one that all rooms share. */
function roomOf(file: string): string | undefined {
  const [, room, ...rest] = file.split('/');
  return rest.length > 0 ? room : undefined;
}

const isEntry = (file: string): boolean =>
  roomOf(file) === undefined && entries.some((name) => file === `lib/${name}.ts`);

/** A circle of files, if there is one. */
function circleIn(imports: readonly Import[]): string[] | undefined {
  const next = new Map<string, string[]>();
  for (const { from, to } of imports) next.set(from, [...(next.get(from) ?? []), to]);
  const seen = new Set<string>();
  const visit = (file: string, path: readonly string[]): string[] | undefined => {
    if (path.includes(file)) return [...path.slice(path.indexOf(file)), file];
    if (seen.has(file)) return undefined;
    seen.add(file);
    for (const target of next.get(file) ?? []) {
      const circle = visit(target, [...path, file]);
      if (circle) return circle;
    }
    return undefined;
  };
  for (const file of next.keys()) {
    const circle = visit(file, []);
    if (circle) return circle;
  }
  return undefined;
}

describe.each(Object.entries(plans))('%s/', (folder, plan) => {
  const imports = importsIn(folder);

  test('has no rooms but those of its plan', () => {
    const rooms = new Set(filesUnder(folder).map(roomOf));
    rooms.delete(undefined);
    expect([...rooms].sort()).toEqual(Object.keys(plan).sort());
  });

  test('has no arrows between rooms but those of its plan, each of which is used', () => {
    const arrows = new Set<string>();
    for (const { from, to } of imports) {
      const [room, other] = [roomOf(from), roomOf(to)];
      if (room !== other && room !== undefined && other !== undefined) arrows.add(`${room} → ${other}`);
    }
    const allowed = Object.entries(plan).flatMap(([room, others]) =>
      others.map((other) => `${room} → ${other}`),
    );
    expect([...arrows].sort()).toEqual(allowed.sort());
  });

  test('has the arrows that CONTRIBUTING.md draws', () => {
    const drawn = [...readFileSync('CONTRIBUTING.md', 'utf8').matchAll(/^ {2}(\w+) --> ([\w& ]+)$/gm)]
      .filter(([, room = '']) => Object.hasOwn(plan, room))
      .map(([, room, others = '']) => [room, others.split(' & ').sort()]);
    const planned = Object.entries(plan).flatMap(([room, others]) =>
      others.length === 0 ? [] : [[room, [...others].sort()]],
    );
    expect(Object.fromEntries(drawn)).toEqual(Object.fromEntries(planned));
  });

  test('has one door to each room', () => {
    const around = imports.filter(
      ({ from, to }) => roomOf(to) !== undefined && roomOf(from) !== roomOf(to) && !to.endsWith('/index.ts'),
    );
    expect(around).toEqual([]);
  });

  test('has no room that leaves by its own door', () => {
    const back = imports.filter(({ from, to }) => roomOf(from) === roomOf(to) && to.endsWith('/index.ts'));
    expect(back.filter(({ to }) => roomOf(to) !== undefined)).toEqual([]);
  });

  test('has no two rooms that import each other', () => {
    const both = Object.entries(plan).flatMap(([room, others]) =>
      others.filter((other) => plan[other]?.includes(room)),
    );
    expect(both).toEqual([]);
  });

  test('has no file that all rooms share and that looks into a room', () => {
    const inward = imports.filter(
      ({ from, to }) => roomOf(from) === undefined && !isEntry(from) && roomOf(to) !== undefined,
    );
    expect(inward).toEqual([]);
  });
});

describe('a circle of files, types included,', () => {
  const folders = ['lib', 'constructs', 'bin', 'local', 'build', 'examples', 'test', 'bench'];

  test('is in no folder, nor between folders', () => {
    const imports = folders.flatMap(importsFrom);
    for (const folder of folders.filter((name) => name !== 'build')) {
      expect(imports.some(({ from }) => from.startsWith(`${folder}/`))).toBe(true);
    }
    expect(circleIn(imports)).toBeUndefined();
  });

  test('is found where there is one, by its files', () => {
    const imports = [
      { from: 'a.ts', to: 'b.ts' },
      { from: 'b.ts', to: 'c.ts' },
      { from: 'c.ts', to: 'b.ts' },
    ];
    expect(circleIn(imports)).toEqual(['b.ts', 'c.ts', 'b.ts']);
  });
});

test('an entry of the package holds names only', () => {
  for (const name of entries) {
    const file = join('lib', `${name}.ts`);
    const code = readFileSync(file, 'utf8').replace(/\/\*[\s\S]*?\*\/|\/\/.*/g, '');
    const statements = code.split(';').map((statement) => statement.trim());
    expect(
      statements.filter((statement) => statement !== '' && !/^export .* from '[^']+'$/s.test(statement)),
    ).toEqual([]);
  }
});

test('no name is exported by two entries, but the error that a browser must tell without the main one', () => {
  const homes = new Map<string, string[]>();
  for (const entry of entries) {
    const code = readFileSync(join('lib', `${entry}.ts`), 'utf8').replace(/\/\*[\s\S]*?\*\/|\/\/.*/g, '');
    for (const [, names = ''] of code.matchAll(/export (?:type )?\{([^}]*)\}/g)) {
      for (const name of names.split(',').map((one) => one.trim().replace(/^type /, ''))) {
        if (name !== '') homes.set(name, [...(homes.get(name) ?? []), entry]);
      }
    }
  }
  expect(homes.size).toBeGreaterThan(60);
  const twice = [...homes].filter(([, of]) => of.length > 1);
  expect(twice).toEqual([
    ['IdempotencyError', ['index', 'client']],
    ['IdempotencyErrorCode', ['index', 'client']],
  ]);
});
