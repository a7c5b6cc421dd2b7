import { Token } from 'aws-cdk-lib';
import { Grant, type IGrantable } from 'aws-cdk-lib/aws-iam';
import type { IKey } from 'aws-cdk-lib/aws-kms';
import { type IQueue, Queue } from 'aws-cdk-lib/aws-sqs';
import { Construct, type IConstruct } from 'constructs';
import { grantThrough } from './key-grants.ts';

/** A queue that messages can be sent to. It belongs to this app or to another. */
export interface IIdempotentQueue extends IConstruct {
  readonly queue: IQueue;
  readonly fifo: boolean;
  readonly contentBasedDeduplication: boolean;
  /** Whether SQS deduplicates within each message group only. */
  readonly highThroughput: boolean;
  /** Lets a grantee send messages and encrypt them with the queue's key, and do nothing else. */
  grantSendMessages(grantee: IGrantable): Grant;
}

/** What the ARN of a queue does not show. */
export interface FromQueueArnOptions {
  /** Required where the ARN is a token. @default - whether the ARN ends in `.fifo` */
  readonly fifo?: boolean;
  /** Your own key that encrypts the queue. @default - none: SQS encrypts with its own key */
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
    // SQS calls KMS on behalf of the sender.
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
  // The name may be known although another part, such as the Region, is a token.
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
