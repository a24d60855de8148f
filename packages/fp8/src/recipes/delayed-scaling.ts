import { type Defaults, fail, warnOnce, withDefaults } from "@te/tensor/op";
import { Format, type FormatSpec } from "../format.js";
import { checkEverywhere, checkFormat, type TensorScalingOptions } from "./checks.js";

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

const NAME = "DelayedScaling";

/**
 * FP8 with one scale per tensor, made from the largest magnitudes (amax) that the tensor had in earlier steps:
 *
 *     amax  = max(history), or its newest entry
 *     scale = (largest FP8 value / amax) / 2^margin
 *
 * The scale stays as it was where amax is zero or not finite, and is never larger than the largest float32.
 */
export class DelayedScaling {
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

  toString(): string {
    const { margin, fp8Format, amaxHistoryLen, amaxComputeAlgo } = this;
    return `${NAME}(margin=${margin}, fp8Format=${fp8Format.name}, amaxHistoryLen=${amaxHistoryLen}, amaxComputeAlgo=${amaxComputeAlgo})`;
  }
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
