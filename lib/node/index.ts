/**
 * What the client has for Node alone: a storage in a file.
 * It is a room and an entry of its own, because a browser's bundler refuses any import of Node's modules.
 */
export { fileStorage } from './file-storage.ts';
