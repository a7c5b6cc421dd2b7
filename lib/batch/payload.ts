/** The payload of a record: parsed when it is first read, checked by a schema if there is one. */
import { IdempotencyError } from '../errors.ts';
import { type BatchRecord, shownId } from '../events/index.ts';
import { isRecord } from '../validate.ts';

/**
 * A schema of any library that implements Standard Schema (Zod, Valibot, ArkType, …).
 *
 * @see https://standardschema.dev
 */
export interface Schema<Output = unknown> {
  readonly '~standard': {
    readonly version: 1;
    readonly vendor: string;
    readonly validate: (value: unknown) => SchemaResult<Output> | Promise<SchemaResult<Output>>;
    readonly types?: { readonly input: unknown; readonly output: Output } | undefined;
  };
}

type SchemaResult<Output> =
  | { readonly value: Output; readonly issues?: undefined }
  | { readonly issues: readonly SchemaIssue[] };

interface SchemaIssue {
  readonly message: string;
  readonly path?: readonly (PropertyKey | { readonly key: PropertyKey })[] | undefined;
}

/**
 * A copy of the record with its `payload`. The record itself belongs to the caller.
 *
 * @throws `BAD_PAYLOAD` where the payload does not fit the schema; without a schema only when `payload` is read
 */
export async function withPayload(record: BatchRecord, schema: Schema | undefined): Promise<object> {
  let parsed: { readonly value: unknown } | undefined;
  if (schema) {
    const result = await schema['~standard'].validate(record.body());
    if (result.issues) throw badPayload(record, result.issues);
    parsed = result;
  }
  return Object.defineProperty({ ...record.raw }, 'payload', {
    get: () => {
      parsed ??= { value: record.body() };
      return parsed.value;
    },
    enumerable: false,
    configurable: true,
  });
}

/** Shows where the payload does not fit, but not the schema's own messages: they may quote what was sent. */
function badPayload(record: BatchRecord, issues: readonly SchemaIssue[]): IdempotencyError {
  const places = [...new Set(issues.map(({ path = [] }) => path.map(nameOf).join('.')))];
  const named = places.slice(0, maxNamed).map((place) => (place === '' ? 'the whole of it' : `'${place}'`));
  if (places.length > maxNamed) named.push('…');
  return new IdempotencyError(
    'BAD_PAYLOAD',
    `The payload of record ${shownId(record)} does not fit the schema, at ${named.join(', ')}. Correct the sender or the schema. Until then the record is delivered again, and goes to the dead-letter queue in the end.`,
  );
}

const maxNamed = 5;

/** A key of a map may be data, so only what looks like a name is shown. */
function nameOf(part: PropertyKey | { readonly key: PropertyKey }): string {
  const name = String(isRecord(part) ? part.key : part);
  return /^\w{1,40}$/.test(name) ? name : '…';
}
