/** Current scaling: scales come from the tensor itself. */
import type { Tensor } from "@te/tensor";
import { type Defaults, fail, withDefaults } from "@te/tensor/op";
import { Format, type FormatSpec } from "../format.js";
import type { Quantized } from "../quantized.js";
import { forwardDot, quantizeWith } from "../tensor-scaling.js";
import { checkEverywhere, checkFormat, type TensorScalingOptions } from "./checks.js";
import type { ContractAxes, ForwardDotOptions, Quantizer, Recipe, Role } from "./recipe.js";

/** Options of {@link Float8CurrentScaling}. */
export interface Float8CurrentScalingOptions extends TensorScalingOptions {
  /** Scales that are powers of two are not supported: must be false (default). */
  readonly usePower2Scales?: false;
  /** A smallest amax is not supported: must be 0 (default). */
  readonly amaxEpsilon?: 0;
}

const NAME = "Float8CurrentScaling";

/**
 * FP8 with one scale per tensor, made from the tensor itself:
 *
 *     scale = largest FP8 value / max |x|
 *
 * or 1 where that maximum is zero or not finite, and never larger than the largest float32. There is no state: modules
 * make no fp8_metas. A tensor is read twice, so norms and activations are written in the dtype of activations first.
 */
export class Float8CurrentScaling implements Recipe<null> {
  static readonly defaults = {
    fp8Format: Format.HYBRID,
    usePower2Scales: false,
    amaxEpsilon: 0,
    fp8Dpa: false,
    fp8Mha: false,
    backwardOverride: null,
  } satisfies Defaults<Float8CurrentScalingOptions>;

  readonly fp8Format: FormatSpec;

  /** Throws a TeError for every value that is not allowed or not supported, with or without an autocast around it. */
  constructor(options: Float8CurrentScalingOptions = {}) {
    const all: Readonly<Record<keyof Float8CurrentScalingOptions, unknown>> = withDefaults(
      NAME,
      options,
      Float8CurrentScaling.defaults,
    );
    this.fp8Format = checkFormat(NAME, all.fp8Format as FormatSpec);
    checkEverywhere(NAME, all);
    if (all.usePower2Scales !== false)
      fail("unsupported", NAME, "usePower2Scales must be false: scales are not rounded", all.usePower2Scales);
    if (all.amaxEpsilon !== 0)
      fail("unsupported", NAME, "amaxEpsilon must be 0: scales come from the tensor alone", all.amaxEpsilon);
    Object.freeze(this);
  }

  get fromFloat32(): boolean {
    return false;
  }

  quantizer(role: Role): Quantizer<null> {
    const dtype = role === "grad" ? this.fp8Format.backward : this.fp8Format.forward;
    return {
      dtype,
      copies: "one",
      scaleShape: () => [1],
      variables: {},
      rule: null,
      quantize: (x) => quantizeWith(null, x, dtype),
    };
  }

  dot(a: Quantized, b: Quantized, axes: ContractAxes, options: ForwardDotOptions): Tensor {
    return forwardDot(a, b, axes, options);
  }

  toString(): string {
    return `${NAME}(fp8Format=${this.fp8Format.name})`;
  }
}
