/** Options of the original that ask for what no device here computes: they have their names, and only their defaults. */
import { type Defaults, fail } from "@te/tensor/op";

export interface ScoreModOptions {
  /** A function on the scores inside the kernel. Must be null (default): use a bias or a mask. */
  scoreMod?: null;
  /** Its derivative. Must be null (default). */
  scoreModBprop?: null;
}

export const scoreModDefaults = { scoreMod: null, scoreModBprop: null } satisfies Defaults<ScoreModOptions>;

/** Throws unless scoreMod and scoreModBprop are left at null. */
export function refuseScoreMod(fn: string, options: Required<ScoreModOptions>): void {
  for (const name of ["scoreModBprop", "scoreMod"] as const) {
    if (options[name] === null) continue;
    const rule = `${name} must be null: scores are computed inside a kernel that runs no functions`;
    fail("unsupported", fn, rule, options[name], "Pass a bias or a mask, or set softmaxType.");
  }
}
