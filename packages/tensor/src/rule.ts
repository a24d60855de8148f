import { expectString, expectStrings } from "./expect.js";
import { withDefaults } from "./options.js";

/**
 * How an op may be split over a mesh, as data: an einsum-like string of factors, one term per input and output.
 * "..." stands for leading axes. A factor that vanishes from an output is summed over its mesh axes; a factor named in
 * `whole` may not be split.
 */
export interface Rule {
  readonly text: string;
  readonly whole: readonly string[];
}

/** A sharding rule from its einsum-like text. */
export function rule(text: string, options: { readonly whole?: readonly string[] } = {}): Rule {
  expectString("rule", { text });
  const { whole } = withDefaults("rule", options, { whole: [] });
  expectStrings("rule", { whole });
  return { text, whole };
}
