/**
 * The mapping templates of a REST API, in Velocity. They translate a request into a form of SQS's query API, and SQS's answer
 * into one for the caller.
 *
 * Text after a directive must begin with `&`, `{` or another directive. Velocity would read letters directly after `#end` as part
 * of its name.
 */

/** The form that sends a message. SQS refuses it without exactly one key and one group, whatever the queue deduplicates by. */
export function sendMessageForm(header: string, messageGroupId: string): string {
  return [
    'Action=SendMessage',
    readHeader('key', header),
    readGroup(messageGroupId),
    // In quotes and with `!`, a missing body becomes an empty text, and a number a text. Velocity does not evaluate the body.
    '#set($body = "$!input.body")',
    '&MessageBody=$util.urlEncode($body)',
    '&MessageDeduplicationId=$util.urlEncode($key)',
    '&MessageGroupId=$util.urlEncode($group)',
  ].join('');
}

/** The header that becomes the message group; `undefined` if something else does. */
export function groupHeaderOf(messageGroupId: string): string | undefined {
  return /^\$request\.header\.(.+)$/.exec(messageGroupId)?.[1];
}

function readGroup(messageGroupId: string): string {
  const header = groupHeaderOf(messageGroupId);
  if (header !== undefined) return readHeader('group', header);
  const [, path] = /^\$request\.body\.(.+)$/.exec(messageGroupId) ?? [];
  if (path !== undefined) return `#set($group = "$!input.path('$.${path}')")`;
  // A token of the CDK begins with a dollar too, but stands for a fixed text.
  return messageGroupId.startsWith('$context.')
    ? `#set($group = "$!${messageGroupId.slice(1)}")`
    : `#set($group = '${messageGroupId}')`;
}

/**
 * Reads a header in any casing into a variable. `$input.params(name)` would look at the path and the query first, and know one
 * casing only. A header in two casings may come from two hands, so it counts as missing.
 *
 * A missing header becomes a space, which SQS refuses. SQS could take an empty text for no parameter at all, and a queue may
 * then deduplicate by content.
 */
function readHeader(variable: string, header: string): string {
  return [
    `#set($${variable} = '')#set($found = 0)`,
    '#foreach($name in $input.params().header.keySet())',
    `#if($name.equalsIgnoreCase('${header}'))`,
    `#set($found = $found + 1)#set($${variable} = $input.params().header.get($name))`,
    '#end#end',
    `#if($found != 1 || $${variable} == '')#set($${variable} = ' ')#end`,
  ].join('');
}

/** The codes of SQS for too many requests to it or to KMS. */
const throttledCodes = ['RequestThrottled', 'ThrottlingException', 'Throttling', 'KMS.ThrottlingException'];
/** The codes of SQS for errors that the caller can correct. */
const callersCodes = ['InvalidParameterValue', 'MissingParameter', 'InvalidMessageContents'];

const bodies = {
  accepted: '{"accepted":true}',
  refused: '{"message":"The queue refuses this request."}',
  throttled: '{"message":"Too many requests: try again later."}',
  unavailable: '{"message":"The queue is not available."}',
} as const;

/**
 * Reads SQS's answer, which is XML or JSON, without its white space. Its message may quote what the caller sent. A caller cannot
 * forge a code there, because `<` in XML and `"` in JSON are escaped.
 */
const readAnswer = [
  `#set($answer = "$!input.body")#set($answer = $answer.replaceAll('\\s', ''))`,
  `#if($answer.startsWith('<'))#set($before = '<Code>')#set($after = '<')`,
  `#else#set($before = '"Code":"')#set($after = '"')#end`,
].join('');

const hasCode = (codes: readonly string[]): string =>
  // biome-ignore lint/suspicious/noTemplateCurlyInString: it is Velocity that reads them.
  codes.map((code) => '$answer.contains("${before}CODE${after}")'.replace('CODE', code)).join(' || ');

const override = (status: number): string => `#set($context.responseOverride.status = ${status})`;

/** All statuses that the integration may answer with. */
export const ingestStatuses = ['202', '400', '429', '503'];

/**
 * The caller's answer for each answer of SQS. Not every 4xx of SQS is the caller's fault: throttling and missing permissions are
 * 400 or 403 too. The code in the body tells them apart.
 */
export const ingestResponses = [
  { statusCode: '202', responseTemplates: { 'application/json': bodies.accepted } },
  {
    statusCode: '400',
    selectionPattern: '400',
    responseTemplates: {
      'application/json': [
        readAnswer,
        `#if(${hasCode(throttledCodes)})${override(429)}${bodies.throttled}`,
        `#elseif(${hasCode(callersCodes)})${bodies.refused}`,
        `#else${override(503)}${bodies.unavailable}#end`,
      ].join(''),
    },
  },
  {
    statusCode: '503',
    selectionPattern: '4(?:0[1-9]|[1-9]\\d)',
    responseTemplates: {
      'application/json': [
        readAnswer,
        `#if(${hasCode(throttledCodes)})${override(429)}${bodies.throttled}`,
        `#else${bodies.unavailable}#end`,
      ].join(''),
    },
  },
  {
    statusCode: '503',
    selectionPattern: '5\\d{2}',
    responseTemplates: { 'application/json': bodies.unavailable },
  },
];
