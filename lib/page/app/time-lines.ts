/** Steps through what happened to one operation, in both lanes: why it was charged twice without a guard, and not with one. */
import { type Actor, type TimeLine, type TimeLineEvent, timeLineKinds } from '../../simulate/index.ts';
import { byId, make } from './elements.ts';
import { duration } from './sliders.ts';

interface Moment {
  readonly event: TimeLineEvent;
  readonly row: HTMLElement;
  readonly lane: string;
}

const titles = { without: 'Without idemkit', with: 'With idemkit' } as const;
const actorNames: Readonly<Record<Actor, string>> = {
  caller: 'caller',
  network: 'network',
  function: 'function',
  guard: 'idemkit',
  effect: 'customer',
};

export class TimeLines {
  readonly #select = byId('operation', HTMLSelectElement);
  readonly #folder = byId('time-lines', HTMLDivElement);
  #kept: readonly TimeLine[] = [];
  #moments: readonly Moment[] = [];
  #at = 0;

  constructor() {
    this.#select.addEventListener('change', () => this.#open(this.#kept[this.#select.selectedIndex]));
    const onClick = (id: string, to: () => number) =>
      byId(id, HTMLButtonElement).addEventListener('click', () => this.#go(to()));
    onClick('first', () => 0);
    onClick('back', () => this.#at - 1);
    onClick('forward', () => this.#at + 1);
    onClick('last', () => this.#moments.length - 1);
    this.#folder.addEventListener('keydown', (event) => {
      const steps: Readonly<Record<string, number>> = {
        ...{
          ArrowRight: this.#at + 1,
          ArrowDown: this.#at + 1,
          ArrowLeft: this.#at - 1,
          ArrowUp: this.#at - 1,
        },
        ...{ Home: 0, End: this.#moments.length - 1 },
      };
      if (!Object.hasOwn(steps, event.key)) return;
      event.preventDefault();
      this.#go(steps[event.key] ?? 0);
    });
  }

  show(kept: readonly TimeLine[]): void {
    this.#kept = kept;
    byId('why', HTMLElement).hidden = kept.length === 0;
    const isDoubled = kept[0]?.because === 'doubled';
    byId('why-title', HTMLHeadingElement).textContent = isDoubled
      ? 'Why was it doubled?'
      : 'What happened to one operation';
    this.#select.replaceChildren(
      ...kept.map((line) => make('option', { value: String(line.operation) }, titleOf(line))),
    );
    this.#open(kept[0]);
  }

  #open(line: TimeLine | undefined): void {
    const moments: Moment[] = [];
    const lanes = (line?.lanes ?? []).map(({ lane, effects, events }) => {
      const list = make('ol', {});
      for (const event of events) {
        const row = rowOf(event);
        list.append(row);
        moments.push({ event, row, lane: titles[lane] });
      }
      return make(
        'section',
        { class: 'time-line', 'aria-label': titles[lane] },
        make('h3', {}, titles[lane]),
        make(
          'p',
          { class: effects > 1 ? 'bad' : 'quiet' },
          effects === 1 ? '1 charge' : `${effects} charges`,
        ),
        list,
      );
    });
    this.#folder.tabIndex = 0;
    this.#folder.replaceChildren(...lanes);
    this.#moments = moments.sort((one, other) => one.event.atMs - other.event.atMs);
    this.#go(0);
  }

  #go(to: number): void {
    this.#at = Math.min(Math.max(to, 0), this.#moments.length - 1);
    for (const [index, { row }] of this.#moments.entries()) {
      row.classList.toggle('ahead', index > this.#at);
      if (index === this.#at) row.setAttribute('aria-current', 'step');
      else row.removeAttribute('aria-current');
    }
    const moment = this.#moments[this.#at];
    byId('moment', HTMLParagraphElement).textContent = moment
      ? `${this.#at + 1} of ${this.#moments.length}. ${moment.lane}: ${sentenceOf(moment.event)}`
      : '';
    byId('back', HTMLButtonElement).disabled = this.#at <= 0;
    byId('forward', HTMLButtonElement).disabled = this.#at >= this.#moments.length - 1;
  }
}

function titleOf({ operation, because, lanes }: TimeLine): string {
  const effects = lanes.map(
    ({ effects: times, lane }) => `${lane === 'with' ? 'with' : 'without'}: ${times}`,
  );
  return `${operation + 1}, ${because} (charges ${effects.join(', ')})`;
}

function rowOf(event: TimeLineEvent): HTMLElement {
  const { actor } = timeLineKinds[event.kind];
  const kind = event.kind === 'effect-again' ? 'again' : actor;
  return make(
    'li',
    { class: `event ${kind}` },
    make('span', { class: 'at' }, duration(event.atMs)),
    make('span', { class: 'actor' }, actorNames[actor]),
    make('span', {}, wordsOf(event)),
  );
}

const wordsOf = ({ kind, request, environment }: TimeLineEvent): string =>
  `${timeLineKinds[kind].words} · request ${request}${environment === undefined ? '' : `, environment ${environment}`}`;

const sentenceOf = (event: TimeLineEvent): string =>
  `at ${duration(event.atMs)} the ${actorNames[timeLineKinds[event.kind].actor]} ${wordsOf(event)}`;
