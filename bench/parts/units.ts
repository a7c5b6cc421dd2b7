/** What DynamoDB bills for answers of different sizes. */
import { contenders } from '../contenders.ts';
import { httpRequests } from '../events.ts';
import { type Chart, type ContenderName, contenderNames, counted, type Part, type Row } from '../runner.ts';
import { withTables } from '../table.ts';

/** Lines of an invoice as they are: some of it repeats. */
export function invoice(bytes: number): string {
  const lines = [];
  for (let length = 0, line = 0; length < bytes; line++) {
    const text = JSON.stringify({
      line,
      sku: `sku-${(line * 7_919) % 10_007}`,
      text: 'One line of an invoice, as they are',
      amount: (line * 104_729) % 99_991,
    });
    lines.push(text);
    length += text.length + 1;
  }
  return `[${lines.join(',')}]`;
}

export const units: Part = {
  name: 'units',
  title: 'Write and read units on DynamoDB Local, for answers as JSON',
  run: (bench) =>
    withTables(async ({ client, names }) => {
      let spent = 0;
      client.middlewareStack.add(
        (next) => async (args) => {
          const result = await next({ ...args, input: { ...args.input, ReturnConsumedCapacity: 'TOTAL' } });
          const { ConsumedCapacity } = result.output as { ConsumedCapacity?: { CapacityUnits?: number } };
          spent += ConsumedCapacity?.CapacityUnits ?? 0;
          return result;
        },
        { step: 'initialize' },
      );
      const requestOf = httpRequests();
      const rows: Row[] = [];
      const points: Record<ContenderName, [number, number][]> = { idemkit: [], peer: [] };
      for (const kilobytes of [0.2, 1, 4, 10, 50, 200, 500]) {
        bench.progress(`${kilobytes} KB`);
        const body = invoice(kilobytes * 1_000);
        const found: { [name in ContenderName]?: { fresh: number; duplicate: number } } = {};
        const problems: string[] = [];
        for (const name of contenderNames) {
          const answer = () => ({ statusCode: 200, body });
          const guarded = contenders[name].http({ client, tableName: names[name], answer });
          const key = `${name}-${kilobytes}`;
          try {
            // The first call of a process is an update, which costs the same.
            spent = 0;
            await guarded(requestOf(key));
            const fresh = spent;
            spent = 0;
            await guarded(requestOf(key));
            found[name] = { fresh, duplicate: spent };
            points[name].push([kilobytes, fresh]);
          } catch (error) {
            problems.push(`${name} fails: ${rootOf(error).name}`);
          }
        }
        if (!found.idemkit) throw new Error(problems.join(', '));
        const note = problems[0];
        // DynamoDB Local does not say what a refused put costs.
        const refused = note ?? 'reads only: the refused put is billed by the size of the item that it meets';
        rows.push(
          counted(`${kilobytes} KB, fresh`, 'units', found.idemkit.fresh, found.peer?.fresh, note),
          counted(
            `${kilobytes} KB, duplicate`,
            'units',
            found.idemkit.duplicate,
            found.peer?.duplicate,
            refused,
          ),
        );
      }
      const chart: Chart = {
        name: 'units',
        title: 'Units of a fresh call, by the size of its answer',
        x: { title: 'answer, KB', scale: 'logarithmic' },
        y: { title: 'units', scale: 'logarithmic' },
        lines: contenderNames.map((name) => ({ name, points: points[name] })),
      };
      return { rows, charts: [chart] };
    }),
};

const rootOf = (error: unknown): Error => {
  const { cause } = error as Error;
  return cause instanceof Error ? rootOf(cause) : (error as Error);
};
