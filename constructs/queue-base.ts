import { Token } from 'aws-cdk-lib';
import { Grant, type IGrantable } from 'aws-cdk-lib/aws-iam';
import type { IKey } from 'aws-cdk-lib/aws-kms';
import { type IQueue, Queue } from 'aws-cdk-lib/aws-sqs';
import { Construct, type IConstruct } from 'constructs';
import { grantThrough } from './key-grants.ts';

/** A queue that messages can be sent to, of this app or another. */
export interface IIdempotentQueue extends IConstruct {
  readonly queue: IQueue;
  readonly fifo: boolean;
  readonly contentBasedDeduplication: boolean;
  /** Deduplication is then within a message group only. */
  readonly highThroughput: boolean;
  /** Lets somebody send messages, and encrypt them with the queue's key, and nothing else. */
  grantSendMessages(grantee: IGrantable): Grant;
}

/** What an ARN does not say of a queue. */
export interface FromQueueArnOptions {
  /** @default - whether the ARN ends in .fifo. Must be given where the ARN is a token */
  readonly fifo?: boolean;
  /** The key of yours that the queue is encrypted with, if it is. @default - none: SQS encrypts with its own key */
  readonly encryptionKey?: IKey;
  /** @default false */
  readonly contentBasedDeduplication?: boolean;
  /** @default false */
  readonly highThroughput?: boolean;
}

export abstract class QueueBase extends Construct implements IIdempotentQueue {
  abstract readonly queue: IQueue;
  abstract readonly fifo: boolean;
  abstract readonly contentBasedDeduplication: boolean;
  abstract readonly highThroughput: boolean;
  protected abstract readonly encryptionKey: IKey | undefined;

  grantSendMessages(grantee: IGrantable): Grant {
    const grant = Grant.addToPrincipalOrResource({
      grantee,
      actions: ['sqs:SendMessage'],
      resourceArns: [this.queue.queueArn],
      resource: this.queue,
    });
    const key = this.encryptionKey;
    // SQS calls KMS on behalf of who sends.
    return key
      ? grant.combine(grantThrough('sqs', key, grantee, 'kms:Decrypt', 'kms:GenerateDataKey'))
      : grant;
  }
}

export class ImportedQueue extends QueueBase {
  override readonly queue: IQueue;
  override readonly fifo: boolean;
  override readonly contentBasedDeduplication: boolean;
  override readonly highThroughput: boolean;
  protected override readonly encryptionKey: IKey | undefined;

  constructor(scope: Construct, id: string, queueArn: string, options: FromQueueArnOptions) {
    super(scope, id);
    this.fifo = fifoOf(queueArn, options.fifo);
    this.contentBasedDeduplication = options.contentBasedDeduplication ?? false;
    this.highThroughput = options.highThroughput ?? false;
    this.encryptionKey = options.encryptionKey;
    this.queue = Queue.fromQueueAttributes(this, 'Queue', {
      queueArn,
      fifo: this.fifo,
      ...(options.encryptionKey && { keyArn: options.encryptionKey.keyArn }),
    });
  }
}

function fifoOf(queueArn: string, given: boolean | undefined): boolean {
  // The rest of it may be a token all the same: the Region, say.
  const isNameKnown = !Token.isUnresolved(queueArn) || /:[\w-]+(?:\.fifo)?$/.test(queueArn);
  if (!isNameKnown) {
    if (given === undefined) {
      throw new Error(
        'queueArn is a token, and does not tell whether the queue is FIFO: say fifo: true or fifo: false beside it',
      );
    }
    return given;
  }
  const fifo = queueArn.endsWith('.fifo');
  if (given !== undefined && given !== fifo) {
    throw new Error(
      `fifo is ${given}, and queueArn is '${queueArn}': the names of FIFO queues, and only these, end in .fifo`,
    );
  }
  return fifo;
}
