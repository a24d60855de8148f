/** What the test that runs has compared: reports say from it how far results were from their limits. */

/** Comparisons of one backend, dtype and limit. */
export interface Comparison {
  readonly backend: string;
  readonly dtype: string;
  /** The largest N; the share of codes that differ for codes, 0 or 1 for bits. */
  readonly error: number;
  /** The limit that it was held to. */
  readonly tolerance: number;
}

/** Those within their limits, and those beyond: a test that passes meant the latter, as controls. */
export interface Recorded {
  readonly within: readonly Comparison[];
  readonly beyond: readonly Comparison[];
}

let within = new Map<string, Comparison>();
let beyond = new Map<string, Comparison>();

/** Adds a comparison; of equal backend, dtype and limit only the one with the largest error is kept. */
export function record(comparison: Comparison, isWithin: boolean): void {
  const { backend, dtype, error, tolerance } = comparison;
  const into = isWithin ? within : beyond;
  const key = `${backend} ${dtype} ${tolerance}`;
  if (!(error <= (into.get(key)?.error ?? -1))) into.set(key, comparison);
}

/** What was recorded since the last call. */
export function takeRecorded(): Recorded {
  const taken = { within: [...within.values()], beyond: [...beyond.values()] };
  within = new Map();
  beyond = new Map();
  return taken;
}
