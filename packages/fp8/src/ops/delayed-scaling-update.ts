/** The op `delayed_scaling_update`, and how a history of amaxes becomes a scale. */
import { concat, div, finfo, type Tensor, zeros } from "@te/tensor";
import {
  defineOp,
  expectDType,
  expectFinite,
  expectRank,
  expectTensor,
  fail,
  wholeRule,
  withDefaults,
} from "@te/tensor/op";
import { checkFloat8, type Float8, float8Max } from "../format.js";
import type { AmaxComputeAlgo } from "../recipes/delayed-scaling.js";
import { expectScalars } from "./check.js";

/** Options of {@link scaleFromHistory}. */
export interface ScaleOptions {
  /** The FP8 type of the tensor. */
  readonly dtype: Float8;
  readonly margin?: number;
  readonly amaxComputeAlgo?: AmaxComputeAlgo;
}

function checkScaling(fn: string, dtype: Float8, margin: number, amaxComputeAlgo: AmaxComputeAlgo): void {
  checkFloat8(fn, "dtype", dtype);
  expectFinite(fn, { margin });
  if (amaxComputeAlgo !== "max" && amaxComputeAlgo !== "most_recent")
    fail("option", fn, 'amaxComputeAlgo must be "max" or "most_recent"', amaxComputeAlgo);
}

/**
 * The scale that a history of amaxes gives; float32[N] with the newest at entry 0, to float32[1]:
 *
 *     amax  = max(history) or history[0]
 *     scale = min((largest value of dtype / amax) / 2^margin, largest float32)
 *
 * and the previous scale where amax is zero, NaN or infinite.
 */
export function scaleFromHistory(history: Tensor, previous: Tensor, options: ScaleOptions): Tensor {
  const fn = "scaleFromHistory";
  expectTensor(fn, { history, previous });
  expectDType(fn, { history }, "float32");
  expectRank(fn, { history }, 1);
  expectScalars(fn, { previous });
  if (history.size === 0) fail("shape", fn, "history must have at least one entry", history);
  const { dtype, margin, amaxComputeAlgo } = withDefaults(fn, options, {
    dtype: undefined,
    margin: 0,
    amaxComputeAlgo: "max" as AmaxComputeAlgo,
  });
  checkScaling(fn, dtype, margin, amaxComputeAlgo);
  const amax = amaxComputeAlgo === "max" ? history.max(0, { keepDims: true }) : history.slice([0], [1]);
  const scale = div(float8Max(dtype), amax)
    .mul(2 ** -margin)
    .minimum(finfo("float32").max);
  return amax.gt(0).logicalAnd(amax.isFinite()).where(scale, previous);
}

/**
 * The state of delayed scaling after a step that measured `amax`: float32[1], float32[1], float32[N] to float32[1],
 * float32[N].
 *
 *     h = history with h[0] = amax
 *     newScale = scaleFromHistory(h, scale)
 *     newHistory = h rolled by one to the front, so that its newest entry is the last, with newHistory[0] = 0
 *
 * An entry that is not finite is kept out of newHistory: it is stored as 0, so that it has no part in later scales.
 */
export const delayedScalingUpdateOp = defineOp("delayed_scaling_update", {
  inputs: ["amax", "scale", "history"],
  outputs: ["newScale", "newHistory"],
  params: { dtype: "float8_e4m3fn" as Float8, margin: 0, amaxComputeAlgo: "max" as AmaxComputeAlgo },
  inPlace: [
    ["scale", "newScale"],
    ["history", "newHistory"],
  ],

  shape({ amax, scale, history }, { dtype, margin, amaxComputeAlgo }) {
    const fn = "delayed_scaling_update";
    expectScalars(fn, { amax, scale });
    expectDType(fn, { history }, "float32");
    expectRank(fn, { history }, 1);
    if (history.shape[0] === 0) fail("shape", fn, "history must have at least one entry", history);
    checkScaling(fn, dtype, margin, amaxComputeAlgo);
    return { newScale: scale, newHistory: history };
  },

  sharding: wholeRule,

  reference({ amax, scale, history }, options) {
    const length = history.shape[0]!;
    const older = length > 1 ? [history.slice([1])] : [];
    const newScale = scaleFromHistory(concat([amax, ...older]), scale, options);
    if (length === 1) return { newScale, newHistory: zeros([1]) };
    const kept = length > 2 ? [history.slice([2])] : [];
    const rolled = concat([zeros([1]), ...kept, amax]);
    return { newScale, newHistory: rolled.isFinite().where(rolled, 0) };
  },

  cases: (c) => [
    ...c.product(
      {
        dtype: ["float8_e4m3fn", "float8_e5m2"] as const,
        amaxComputeAlgo: ["max", "most_recent"] as const,
        length: [1, 2, 3, 33],
        amax: [0, 1e-41, 2.5, Number.POSITIVE_INFINITY, Number.NaN],
      },
      ({ length, amax }) => ({
        amax: c.values([1], [amax]),
        scale: c.values([1], [3]),
        history: c.uniform([length], { low: 0, high: 4 }),
      }),
      ({ dtype, amaxComputeAlgo }) => ({ dtype, amaxComputeAlgo, margin: 1 }),
      { gradient: false },
    ),
    c.bench(
      "a history of 1024",
      { amax: c.values([1], [2]), scale: c.values([1], [3]), history: c.uniform([1024]) },
      {},
      { bytes: 2 ** 13 },
    ),
  ],
});
