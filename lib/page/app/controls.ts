/** The form: which settings the visitor has chosen. They are kept in the page's address, so that a run can be shown to others. */
import {
  type SimulationSettings,
  settingsFrom,
  type TemplateName,
  templateNames,
  templates,
} from '../../simulate/index.ts';
import { addressOf } from '../address.ts';
import { byId, make } from './elements.ts';
import { type Choice, groups, nearestStop, type Slider, words } from './sliders.ts';

type Changes = Partial<Record<keyof SimulationSettings, string | number>>;

export class Controls {
  #template: TemplateName = 'pay-button';
  #changes: Changes = {};
  readonly #changed: () => void;
  readonly #refreshes: (() => void)[] = [];

  /** @param changed is called after each change by the visitor */
  constructor(changed: () => void) {
    this.#changed = changed;
    this.#readAddress();
    this.#addTemplates();
    const isWide = matchMedia('(min-width: 60rem)').matches;
    for (const { title, controls } of groups) {
      const isOpen = isWide && (title === 'Guard' || title === 'Retries');
      const details = make('details', isOpen ? { open: '' } : {}, make('summary', {}, title));
      for (const control of controls) {
        details.append(control.kind === 'slider' ? this.#slider(control) : this.#choice(control));
      }
      byId('sliders', HTMLDivElement).append(details);
    }
    byId('again', HTMLButtonElement).addEventListener('click', () => {
      this.#set('seed', (this.settings.seed + 1) % 2 ** 32);
    });
    byId('reset', HTMLButtonElement).addEventListener('click', () => {
      this.#changes = {};
      this.#apply();
    });
    globalThis.addEventListener('hashchange', () => {
      if (location.hash === this.#address()) return;
      this.#readAddress();
      this.#apply();
    });
    this.#refresh();
  }

  get settings(): SimulationSettings {
    return settingsFrom(this.#template, this.#changes as Partial<SimulationSettings>);
  }

  #set(name: keyof SimulationSettings, value: string | number): void {
    this.#changes = { ...this.#changes, [name]: value };
    if (templates[this.#template].settings[name] === value) delete this.#changes[name];
    this.#apply();
  }

  #apply(): void {
    this.#refresh();
    history.replaceState(null, '', this.#address());
    this.#changed();
  }

  #refresh(): void {
    for (const refresh of this.#refreshes) refresh();
    byId('description', HTMLParagraphElement).textContent = templates[this.#template].description;
    byId('seed', HTMLOutputElement).value = String(this.settings.seed);
  }

  #addTemplates(): void {
    const fieldset = byId('templates', HTMLFieldSetElement);
    for (const name of templateNames) {
      const input = make('input', { type: 'radio', name: 'template', value: name, id: `template-${name}` });
      input.addEventListener('change', () => {
        this.#template = name;
        this.#changes = {};
        this.#apply();
      });
      this.#refreshes.push(() => {
        input.checked = this.#template === name;
      });
      fieldset.append(make('label', { for: input.id }, input, make('span', {}, templates[name].title)));
    }
  }

  #slider({ name, label, stops, show }: Slider): HTMLElement {
    const most = String(stops.length - 1);
    const input = make('input', { type: 'range', id: name, min: '0', max: most, step: '1' });
    const output = make('output', { for: name });
    input.addEventListener('input', () => this.#set(name, stops[input.valueAsNumber] ?? 0));
    this.#refreshes.push(() => {
      const value = this.settings[name];
      input.valueAsNumber = nearestStop(stops, value);
      output.value = show(value);
      input.setAttribute('aria-valuetext', output.value);
      if (name === 'keyBits') input.disabled = this.settings.key !== 'short';
    });
    return make('div', { class: 'control' }, make('label', { for: name }, label), output, input);
  }

  #choice({ name, label, values }: Choice): HTMLElement {
    const options = values.map((value) => make('option', { value }, words[value] ?? value));
    const select = make('select', { id: name }, ...options);
    select.addEventListener('change', () => this.#set(name, select.value));
    this.#refreshes.push(() => {
      select.value = this.settings[name];
    });
    return make('div', { class: 'control' }, make('label', { for: name }, label), select);
  }

  #address(): string {
    return addressOf(this.#template, this.settings);
  }

  /** What an address says that is no setting, or is out of range, is passed over: anybody may have written it. */
  #readAddress(): void {
    const said = new URLSearchParams(location.hash.slice(1));
    const template = templateNames.find((name) => name === said.get('template')) ?? 'pay-button';
    this.#template = template;
    this.#changes = {};
    for (const [name, text] of said) {
      const known = templates[template].settings;
      if (!Object.hasOwn(known, name)) continue;
      const setting = name as keyof SimulationSettings;
      const value = typeof known[setting] === 'number' ? Number(text) : text;
      try {
        settingsFrom(template, { [setting]: value });
        this.#changes[setting] = value;
      } catch {
        // Not a value of this setting.
      }
    }
  }
}
