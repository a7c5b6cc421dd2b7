/**
 * What an HTTP answer of ours is: the reply of a call that came over HTTP, and how refusals look.
 * It decides what of an answer is stored and what a repeat gets. It never claims and never settles.
 */
export { type ErrorProfile, refusals, statusPhrase } from './refusal.ts';
export { httpReply, type ReplySettings } from './reply.ts';
export type { HttpResponse } from './response.ts';
