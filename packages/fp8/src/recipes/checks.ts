/** What recipes have in common: their format, and options of the original that have one value here. */
import { fail } from "@te/tensor/op";
import { Format, type FormatSpec } from "../format.js";

export interface TensorScalingOptions {
  /** Format.HYBRID (default) or Format.E4M3, or the name. */
  readonly fp8Format?: FormatSpec | "HYBRID" | "E4M3";
  /** FP8 attention is not supported: must be false (default). */
  readonly fp8Dpa?: false;
  /** FP8 between the projections and attention is not supported: must be false (default). */
  readonly fp8Mha?: false;
  /** Gradients' products in another precision are not supported: must be null (default). */
  readonly backwardOverride?: null;
}

export function checkFormat(recipe: string, given: FormatSpec | string): FormatSpec {
  const name = typeof given === "string" ? given : given?.name;
  if (name === "E4M3" || name === "HYBRID") return Format[name];
  const why = name === "E5M2" ? "; a product of two float8_e5m2 tensors does not exist" : "";
  return fail("option", recipe, `fp8Format must be Format.HYBRID or Format.E4M3${why}`, name ?? given);
}

/** Throws for what no recipe supports. */
export function checkEverywhere(
  recipe: string,
  { fp8Dpa, fp8Mha, backwardOverride }: Readonly<Record<"fp8Dpa" | "fp8Mha" | "backwardOverride", unknown>>,
): void {
  for (const [option, value] of Object.entries({ fp8Dpa, fp8Mha })) {
    if (value !== false)
      fail("unsupported", recipe, `${option} must be false: attention in FP8 is not supported`, value);
  }
  if (backwardOverride !== null) {
    const rule = "backwardOverride must be null: the gradients' products run in FP8 too";
    fail("unsupported", recipe, rule, backwardOverride);
  }
}
