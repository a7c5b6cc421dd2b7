/** What the page and the server tell each other: a request to `/runs` is answered with one JSON text a line. */
import type { SimulationProgress, SimulationReport, SimulationSettings } from '../simulate/index.ts';

export interface RunRequest {
  readonly settings: SimulationSettings;
}

export type RunMessage =
  | { readonly kind: 'progress'; readonly progress: SimulationProgress }
  | { readonly kind: 'report'; readonly report: SimulationReport; readonly tookMs: number }
  | { readonly kind: 'refused'; readonly why: string };

/** More would keep a page waiting for minutes: the command line has no such limit. */
export const mostOperations = 200_000;
