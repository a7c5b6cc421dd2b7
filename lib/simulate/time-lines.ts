import type { OpenOperation } from './open-operation.ts';
import type { LaneName, TimeLine } from './time-line.ts';

const most = 20;
type Both = Partial<Record<LaneName, OpenOperation>>;

/** Joins the lanes of each operation, and keeps the few whose time lines say most. */
export class TimeLines {
  readonly #lanes: readonly LaneName[];
  readonly #joined: (both: Both) => void;
  readonly #waiting = new Map<number, Both>();
  readonly #kept: Record<TimeLine['because'], TimeLine[]> = { doubled: [], lost: [], retried: [] };

  constructor(lanes: readonly LaneName[], joined: (both: Both) => void) {
    this.#lanes = lanes;
    this.#joined = joined;
  }

  get kept(): readonly TimeLine[] {
    return Object.values(this.#kept).flat().slice(0, most);
  }

  over(operation: OpenOperation, lane: LaneName): void {
    const { number } = operation.intent;
    const both: Both = { ...this.#waiting.get(number), [lane]: operation };
    if (this.#lanes.some((name) => both[name] === undefined)) {
      this.#waiting.set(number, both);
      return;
    }
    this.#waiting.delete(number);
    this.#joined(both);
    const because = reasonToKeep(Object.values(both));
    if (because === undefined || this.#kept[because].length >= most) return;
    this.#kept[because].push({
      operation: number,
      because,
      lanes: this.#lanes.map((name) => laneOf(name, both)),
    });
  }
}

function reasonToKeep(lanes: readonly OpenOperation[]): TimeLine['because'] | undefined {
  if (lanes.some(({ effects }) => effects > 1)) return 'doubled';
  if (lanes.some(({ outcome, effects }) => outcome === 'answered' && effects === 0)) return 'lost';
  return lanes.some(({ requests }) => requests > 1) ? 'retried' : undefined;
}

function laneOf(lane: LaneName, both: Both): TimeLine['lanes'][number] {
  const { effects = 0, events = [] } = both[lane] ?? {};
  return { lane, effects, events };
}
