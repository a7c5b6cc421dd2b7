// By itself, for public types must not reach the SDK's: a consumer may not have them.

/** What is needed of a client: a `DynamoDBClient` or a `DynamoDBDocumentClient`, of any version 3. */
export interface DynamoClient {
  // biome-ignore lint/suspicious/noExplicitAny: public types must not reach the SDK's commands, and every client has its own
  send(command: any): Promise<any>;
}
