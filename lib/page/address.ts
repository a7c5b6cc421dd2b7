/** A run as the page's address names it. */
import { type SimulationSettings, type TemplateName, templates } from '../simulate/index.ts';

/** The template, and what differs from it. */
export function addressOf(template: TemplateName, settings: SimulationSettings): string {
  const defaults = templates[template].settings;
  const changed = (Object.keys(settings) as (keyof SimulationSettings)[])
    .filter((name) => settings[name] !== defaults[name])
    .map((name): [string, string] => [name, String(settings[name])]);
  return `#${new URLSearchParams([['template', template], ...changed])}`;
}
