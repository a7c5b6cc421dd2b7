/** What callers import in Node, as `idemkit/client/node`, beside `idemkit/client`. */
export { fileStorage } from './node/index.ts';
