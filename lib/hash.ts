import { hash } from 'node:crypto';

/** SHA-256, base64url: 43 characters. */
export function sha256(text: string | Uint8Array): string {
  return hash('sha256', text, 'base64url');
}

/** SHA-256 as AWS writes it: 64 hexadecimal digits. */
export const hexSha256 = (text: string): string => hash('sha256', text, 'hex');
