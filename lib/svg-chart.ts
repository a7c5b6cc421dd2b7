/** Charts as SVG, readable on a light and on a dark page. */
import { figure } from './figure.ts';

export interface Line {
  readonly name: string;
  /** @default the next one of a few that differ */
  readonly colour?: string;
  readonly points: readonly (readonly [x: number, y: number])[];
}

export interface Axis {
  readonly title: string;
  readonly scale: 'linear' | 'logarithmic';
}

export interface Chart {
  readonly title: string;
  readonly x: Axis;
  readonly y: Axis;
  readonly lines: readonly Line[];
}

const [width, height] = [640, 320];
const frame = { left: 70, right: 20, top: 56, bottom: 48 };
/** Distinct for the colour-blind too; each reads on white and on near-black. */
const colours = ['#2f81f7', '#d9822b', '#8b949e'];

const style = `text{font:12px system-ui,sans-serif;fill:#1f2328}.title{font-weight:600;font-size:14px}
.grid{stroke:#d0d7de;stroke-width:1}.line{fill:none;stroke-width:2}
@media (prefers-color-scheme:dark){text{fill:#e6edf3}.grid{stroke:#444c56}}`;

const escaped = (text: string): string =>
  text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;');

interface Scale {
  /** From 0 to 1. */
  at(value: number): number;
  readonly marks: readonly number[];
}

function scaleOf({ scale }: Axis, values: readonly number[]): Scale {
  return scale === 'logarithmic' ? logarithmic(values.filter((value) => value > 0)) : linear(values);
}

function logarithmic(values: readonly number[]): Scale {
  const low = Math.floor(Math.log10(Math.min(...values)));
  const high = Math.max(low + 1, Math.ceil(Math.log10(Math.max(...values))));
  const marks = Array.from({ length: high - low + 1 }, (_, index) => Number(`1e${low + index}`));
  return { at: (value) => (Math.log10(value) - low) / (high - low), marks };
}

function linear(values: readonly number[]): Scale {
  const [least, most] = [Math.min(0, ...values), Math.max(...values, 0)];
  const rough = (most - least || 1) / 4;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * ([1, 2, 5, 10].find((one) => one * power >= rough) ?? 10);
  const [low, high] = [Math.floor(least / step), Math.ceil(most / step) || 1];
  const marks = Array.from({ length: high - low + 1 }, (_, index) => (low + index) * step);
  return { at: (value) => (value / step - low) / (high - low), marks };
}

export function svgOf({ title, x, y, lines }: Chart): string {
  const points = lines.flatMap((line) => line.points);
  const across = scaleOf(
    x,
    points.map(([value]) => value),
  );
  const up = scaleOf(
    y,
    points.map(([, value]) => value),
  );
  const left = (value: number): string =>
    (frame.left + across.at(value) * (width - frame.left - frame.right)).toFixed(1);
  const top = (value: number): string =>
    (height - frame.bottom - up.at(value) * (height - frame.top - frame.bottom)).toFixed(1);
  const text = (at: string, words: string): string => `<text ${at}>${escaped(words)}</text>`;

  const parts = [
    text(`class="title" x="${frame.left}" y="20"`, title),
    ...up.marks.flatMap((mark) => [
      `<line class="grid" x1="${frame.left}" x2="${width - frame.right}" y1="${top(mark)}" y2="${top(mark)}"/>`,
      text(`x="${frame.left - 8}" y="${Number(top(mark)) + 4}" text-anchor="end"`, figure(mark)),
    ]),
    ...across.marks.map((mark) =>
      text(`x="${left(mark)}" y="${height - frame.bottom + 18}" text-anchor="middle"`, figure(mark)),
    ),
    text(`x="${width - frame.right}" y="${height - 10}" text-anchor="end"`, x.title),
    text(`x="8" y="${frame.top - 12}"`, y.title),
    ...lines.flatMap((line, index) => {
      const colour = line.colour ?? colours[index % colours.length];
      const drawn = line.points.filter(([, value]) => y.scale === 'linear' || value > 0);
      const path = drawn.map(([at, value]) => `${left(at)},${top(value)}`).join(' ');
      const legend = frame.left + 60 + index * 170;
      return [
        `<polyline class="line" stroke="${colour}" points="${path}"/>`,
        ...drawn.map(
          ([at, value]) => `<circle cx="${left(at)}" cy="${top(value)}" r="3.5" fill="${colour}"/>`,
        ),
        `<circle cx="${legend}" cy="${frame.top - 16}" r="5" fill="${colour}"/>`,
        text(`x="${legend + 10}" y="${frame.top - 12}"`, line.name),
      ];
    }),
  ];
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" role="img" aria-label="${escaped(title)}">`,
    `<style>${style}</style>`,
    ...parts,
    '</svg>\n',
  ].join('\n');
}
