/** Where everything on this machine claims to be. fauxqs knows no other account. */
export const region = 'eu-west-1';
export const accountId = '000000000000';

/** For AWS clients: nothing here checks signatures. */
export const credentials = { accessKeyId: 'local', secretAccessKey: 'local' };

/** Where AWS has its queues in this region. */
export const sqsOrigin = `https://sqs.${region}.amazonaws.com`;

/**
 * The URL that AWS would give the queue. A function's environment may say it, alone or within a longer text: the
 * function then finds the address of the queue on this machine there.
 */
export const queueUrl = (name: string): string => `${sqsOrigin}/${accountId}/${name}`;

export const queueArn = (name: string): string => `arn:aws:sqs:${region}:${accountId}:${name}`;

export const topicArn = (name: string): string => `arn:aws:sns:${region}:${accountId}:${name}`;
