/**
 * HTTP answers: what of a handler's answer is stored, what a repeat gets, and how a refusal looks.
 * This room decides the shape of answers. It never decides whether a call runs, and never touches the store.
 */
export { type ErrorProfile, refusals, statusPhrase } from './refusal.ts';
export { httpReply, type ReplySettings } from './reply.ts';
export type { HttpResponse } from './response.ts';
