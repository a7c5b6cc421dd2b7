/** The charts that follow a run. They are drawn anew when the page turns dark or changes its width. */
import uPlot from 'uplot';
import type { Metrics, SimulationProgress } from '../../simulate/index.ts';
import { byId, make } from './elements.ts';

interface Chart {
  readonly title: string;
  readonly unit: string;
  read(metrics: Metrics): number | null;
  /** Only the guarded lane has it. */
  readonly isGuardsOnly?: boolean;
}

const charts: readonly Chart[] = [
  { title: 'Double charges', unit: '', read: (all) => all.doubleEffects },
  { title: 'Operations answered', unit: ' %', read: (all) => all.answeredPercent },
  {
    title: 'Duplicates among guarded calls',
    unit: ' %',
    read: (all) => all.duplicate_detection_rate,
    isGuardsOnly: true,
  },
  {
    title: 'Added by the guard, 99th percentile',
    unit: ' ms',
    read: (all) => all.addedLatencyP99Ms,
    isGuardsOnly: true,
  },
];

const heightPx = 180;

export class Charts {
  readonly #points: SimulationProgress[] = [];
  readonly #drawn = new Map<Chart, uPlot>();
  readonly #folder = byId('charts', HTMLDivElement);
  #isWaiting = false;

  constructor() {
    this.#draw();
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => this.#draw());
    new ResizeObserver(() => {
      for (const plot of this.#drawn.values()) plot.setSize({ width: this.#widthPx, height: heightPx });
    }).observe(this.#folder);
  }

  begin(): void {
    this.#points.length = 0;
    this.#update();
  }

  add(progress: SimulationProgress): void {
    this.#points.push(progress);
    if (this.#isWaiting) return;
    this.#isWaiting = true;
    requestAnimationFrame(() => {
      this.#isWaiting = false;
      this.#update();
    });
  }

  get #widthPx(): number {
    const columns = getComputedStyle(this.#folder).gridTemplateColumns.split(' ');
    return Number.parseFloat(columns[0] ?? '') || this.#folder.clientWidth;
  }

  #draw(): void {
    for (const plot of this.#drawn.values()) plot.destroy();
    this.#folder.replaceChildren();
    for (const chart of charts) {
      const figure = make('figure', {}, make('figcaption', {}, chart.title));
      this.#folder.append(figure);
      this.#drawn.set(chart, new uPlot(this.#optionsOf(chart), this.#dataOf(chart), figure));
    }
  }

  #optionsOf({ unit, isGuardsOnly }: Chart): uPlot.Options {
    const style = getComputedStyle(document.documentElement);
    const color = (name: string): string => style.getPropertyValue(name).trim();
    const [quiet, line] = [color('--quiet'), color('--line')];
    const axis = { stroke: quiet, grid: { stroke: line, width: 1 }, ticks: { stroke: line } };
    const lane = (label: string, stroke: string, dash?: number[]): uPlot.Series => ({
      ...{ label, stroke, width: 2, spanGaps: true, points: { show: false } },
      ...(dash && { dash }),
    });
    return {
      width: this.#widthPx,
      height: heightPx,
      legend: { live: false },
      cursor: { show: false },
      scales: { x: { time: false }, y: { range: (_plot, _min, max) => [0, Math.max(1, (max ?? 0) * 1.1)] } },
      axes: [axis, { ...axis, size: 56, values: (_plot, ticks) => ticks.map((tick) => `${tick}${unit}`) }],
      series: [
        { label: 'operations' },
        ...(isGuardsOnly ? [] : [lane('without', color('--bad'), [6, 4])]),
        lane('with idemkit', color('--good')),
      ],
    };
  }

  #dataOf({ read, isGuardsOnly }: Chart): uPlot.AlignedData {
    const of = (name: 'without' | 'with') =>
      this.#points.map(({ lanes }) => {
        const lane = lanes[name];
        return lane ? read(lane.metrics) : null;
      });
    const operations = this.#points.map((point) => point.operations);
    return isGuardsOnly ? [operations, of('with')] : [operations, of('without'), of('with')];
  }

  #update(): void {
    for (const [chart, plot] of this.#drawn) plot.setData(this.#dataOf(chart));
  }
}
