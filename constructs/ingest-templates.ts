/**
 * What a REST API translates with: the request into a form of SQS's query API, and SQS's answer into one for the caller. In API Gateway's template
 * language, which is Velocity's.
 *
 * Text that follows a directive begins with `&`, `{` or another directive: letters directly after `#end` would be read as part of its name.
 */

/** The form of a message. Without exactly one key and one group SQS refuses it, whatever the queue deduplicates by. */
export function sendMessageForm(header: string, messageGroupId: string): string {
  return [
    'Action=SendMessage',
    readHeader('key', header),
    readGroup(messageGroupId),
    // Quoted, and with `!`: nothing becomes an empty text, and a number a text. What is read is not read as a template again.
    '#set($body = "$!input.body")',
    '&MessageBody=$util.urlEncode($body)',
    '&MessageDeduplicationId=$util.urlEncode($key)',
    '&MessageGroupId=$util.urlEncode($group)',
  ].join('');
}

/** The header that a group is taken from, if it is taken from one. */
export function groupHeaderOf(messageGroupId: string): string | undefined {
  return /^\$request\.header\.(.+)$/.exec(messageGroupId)?.[1];
}

function readGroup(messageGroupId: string): string {
  const header = groupHeaderOf(messageGroupId);
  if (header !== undefined) return readHeader('group', header);
  const [, path] = /^\$request\.body\.(.+)$/.exec(messageGroupId) ?? [];
  if (path !== undefined) return `#set($group = "$!input.path('$.${path}')")`;
  // A token, which begins with a dollar as well, stands for a text.
  return messageGroupId.startsWith('$context.')
    ? `#set($group = "$!${messageGroupId.slice(1)}")`
    : `#set($group = '${messageGroupId}')`;
}

/**
 * `$input.params(name)` would look at the path and the query first, and at names as they are written here only. A header that is there in two
 * casings may have come from two hands: it counts as missing. In place of a missing one there is a space, which SQS refuses; an empty text could be taken for
 * no parameter at all, and a queue may then deduplicate by content.
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

/** How SQS names that it is asked too often, or that KMS is. */
const throttledCodes = ['RequestThrottled', 'ThrottlingException', 'Throttling', 'KMS.ThrottlingException'];
/** How SQS names what the caller can mend. */
const callersCodes = ['InvalidParameterValue', 'MissingParameter', 'InvalidMessageContents'];

const bodies = {
  accepted: '{"accepted":true}',
  refused: '{"message":"The queue refuses this request."}',
  throttled: '{"message":"Too many requests: try again later."}',
  unavailable: '{"message":"The queue is not available."}',
} as const;

/**
 * SQS answers in XML or in JSON; without its white space either is easier to look at. What the caller sent may be in the answer's message, but there
 * XML has no `<`, and JSON no `"`, that is not escaped.
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

/** All statuses that a caller may get from the integration. */
export const ingestStatuses = ['202', '400', '429', '503'];

/**
 * The answers to SQS's own. Of SQS's 4xx only some are the caller's fault: throttling is 403 or 400, and so is a missing permission. The code in
 * the body tells.
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
