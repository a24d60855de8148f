/** Delayed scaling: scales come from the steps before. */
import { type Tensor, zeros } from "@te/tensor";
import { type Defaults, expectObject, expectTensor, fail, warnOnce, withDefaults } from "@te/tensor/op";
import { type Float8, Format, type FormatSpec } from "../format.js";
import { delayedScalingUpdateOp } from "../ops/delayed-scaling-update.js";
import type { Quantized } from "../quantized.js";
import { forwardDot, quantizedBy, quantizeWith } from "../tensor-scaling.js";
import { checkEverywhere, checkFormat, type TensorScalingOptions } from "./checks.js";
import type { ContractAxes, ForwardDotOptions, Quantizer, Recipe, Role } from "./recipe.js";

/** How the amaxes of past steps become one. */
export type AmaxComputeAlgo = "max" | "most_recent";

/** Options of {@link DelayedScaling}. */
export interface DelayedScalingOptions extends TensorScalingOptions {
  /** Scales are divided by 2^margin. Default 0. */
  readonly margin?: number;
  /** Number of steps whose amaxes are kept. Default 1024. */
  readonly amaxHistoryLen?: number;
  /** "max" (default): the largest amax of the history; "most_recent": the last one. */
  readonly amaxComputeAlgo?: AmaxComputeAlgo;
  /** Must be null (default): the scale formula is fixed. */
  readonly scalingFactorComputeAlgo?: null;
  /** Must be true (default): all devices share one scale per tensor. */
  readonly reduceAmax?: true;
  /** Deprecated, -1 (default): scales are updated in every step, and any other value is ignored with a warning. */
  readonly interval?: number;
  /** Must be [false, false, false] (default): forward, input-gradient and weight-gradient products all run in FP8. */
  readonly overrideLinearPrecision?: readonly [false, false, false];
}

/**
 * State of one tensor of one product under delayed scaling: the scale for the next step, float32[1], and the amaxes of
 * past steps, float32[N]. Entry 0 of the history is 0 and gives way to the next step's amax; the newest amax is the last
 * entry, the others follow from entry 1 on, oldest first.
 */
export type ScaleState = { readonly scale: Tensor; readonly amaxHistory: Tensor };

const NAME = "DelayedScaling";

/**
 * FP8 with one scale per tensor, made from the largest magnitudes (amax) that the tensor had in earlier steps:
 *
 *     amax  = max(history), or its newest entry
 *     scale = (largest FP8 value / amax) / 2^margin
 *
 * The scale stays as it was where amax is zero or not finite, and is never larger than the largest float32. It is known
 * before the tensor is, so what makes a tensor can write FP8 itself, from float32.
 */
export class DelayedScaling implements Recipe<ScaleState> {
  static readonly defaults = {
    margin: 0,
    fp8Format: Format.HYBRID,
    amaxHistoryLen: 1024,
    amaxComputeAlgo: "max",
    scalingFactorComputeAlgo: null,
    reduceAmax: true,
    interval: -1,
    overrideLinearPrecision: [false, false, false],
    fp8Dpa: false,
    fp8Mha: false,
    backwardOverride: null,
  } satisfies Defaults<DelayedScalingOptions>;

  readonly margin: number;
  readonly fp8Format: FormatSpec;
  readonly amaxHistoryLen: number;
  readonly amaxComputeAlgo: AmaxComputeAlgo;
  readonly reduceAmax = true;

  /** Throws a TeError for every value that is not allowed or not supported, with or without an autocast around it. */
  constructor(options: DelayedScalingOptions = {}) {
    const all = withDefaults(NAME, options, DelayedScaling.defaults);
    this.margin = checkMargin(all.margin);
    this.fp8Format = checkFormat(NAME, all.fp8Format);
    this.amaxHistoryLen = checkHistoryLength(all.amaxHistoryLen);
    this.amaxComputeAlgo = checkAlgorithm(all.amaxComputeAlgo);
    checkFixedOptions(all);
    Object.freeze(this);
  }

  get fromFloat32(): boolean {
    return true;
  }

  quantizer(role: Role): Quantizer<ScaleState> {
    const dtype = role === "grad" ? this.fp8Format.backward : this.fp8Format.forward;
    return {
      dtype,
      copies: "one",
      scaleShape: () => [1],
      variables: stateVariables(this.amaxHistoryLen),
      rule: updateRule(this, dtype),
      quantize: (x, state) => quantizeWith(state, x, dtype),
      kept: (q, state) => quantizedBy(state, { q, amax: zeros([1]) }),
    };
  }

  dot(a: Quantized, b: Quantized, axes: ContractAxes, options: ForwardDotOptions): Tensor {
    return forwardDot(a, b, axes, options);
  }

  toString(): string {
    const { margin, fp8Format, amaxHistoryLen, amaxComputeAlgo } = this;
    return `${NAME}(margin=${margin}, fp8Format=${fp8Format.name}, amaxHistoryLen=${amaxHistoryLen}, amaxComputeAlgo=${amaxComputeAlgo})`;
  }
}

const stateVariables = (amaxHistoryLen: number): Quantizer<ScaleState>["variables"] => ({
  scale: { suffix: "scale", shape: [1], initial: 1, wayOut: "Pass the variables that init returned." },
  amaxHistory: {
    suffix: "amax_history",
    shape: [amaxHistoryLen],
    initial: 0,
    wayOut: "Use a recipe with that amaxHistoryLen, or create the variables anew.",
  },
});

/** A step sees the largest amax of all uses, and updates the state once. */
function updateRule({ margin, amaxComputeAlgo }: DelayedScaling, dtype: Float8): Quantizer<ScaleState>["rule"] {
  return {
    name: `delayed scaling (${dtype}, margin ${margin}, ${amaxComputeAlgo})`,
    combine(a, b) {
      const fn = `${NAME}.combine`;
      expectObject(fn, { a, b });
      expectTensor(fn, { "a.amax": a.amax, "b.amax": b.amax });
      return { amax: a.amax.maximum(b.amax) };
    },
    next(state, use) {
      expectObject(`${NAME}.next`, { state, use });
      const [{ scale, amaxHistory }, { amax }] = [state, use];
      const params = { dtype, margin, amaxComputeAlgo };
      const { newScale, newHistory } = delayedScalingUpdateOp({ amax, scale, history: amaxHistory }, params);
      return { scale: newScale, amaxHistory: newHistory };
    },
  };
}

function checkMargin(margin: number): number {
  return Number.isFinite(margin) ? margin : fail("option", NAME, "margin must be a finite number", margin);
}

function checkHistoryLength(length: number): number {
  if (Number.isSafeInteger(length) && length >= 1) return length;
  return fail("option", NAME, "amaxHistoryLen must be an integer of at least 1", length);
}

function checkAlgorithm(algorithm: AmaxComputeAlgo): AmaxComputeAlgo {
  if (algorithm === "max" || algorithm === "most_recent") return algorithm;
  return fail("option", NAME, 'amaxComputeAlgo must be "max" or "most_recent"', algorithm);
}

function checkFixedOptions(all: Readonly<Record<keyof DelayedScalingOptions, unknown>>): void {
  const { scalingFactorComputeAlgo, reduceAmax, overrideLinearPrecision, interval } = all;
  if (scalingFactorComputeAlgo !== null) {
    const rule = "scalingFactorComputeAlgo must be null: the scale formula is fixed";
    fail("unsupported", NAME, rule, scalingFactorComputeAlgo);
  }
  if (reduceAmax !== true) {
    fail("unsupported", NAME, "reduceAmax must be true: all devices share one scale per tensor", reduceAmax);
  }
  if (String(overrideLinearPrecision) !== "false,false,false") {
    const rule = "overrideLinearPrecision must be [false, false, false]: every product runs in FP8";
    fail(
      "unsupported",
      NAME,
      rule,
      overrideLinearPrecision,
      "Leave it out, or leave autocast for the layers that need more.",
    );
  }
  checkEverywhere(NAME, all);
  if (interval !== -1) {
    warnOnce(`${NAME}: interval is deprecated and ignored (got ${interval}): scales are updated in every step`);
  }
}
