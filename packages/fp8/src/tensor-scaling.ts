/** What recipes with one scale per tensor share: rounding with a scale, taking it out again, and their product. */
import { div, finfo, type Tensor, zeros } from "@te/tensor";
import { expectFloat, expectObject, expectTensor } from "@te/tensor/op";
import { checkFloat8, type Float8, float8Max } from "./format.js";
import { quantizeOp } from "./ops/quantize.js";
import { scaledDotOp } from "./ops/scaled-dot.js";
import { expectQuantized, type Quantized } from "./quantized.js";
import type { ContractAxes, ForwardDotOptions } from "./recipes/recipe.js";

/** A tensor in FP8 with one scale: value = q * scaleInv, with scaleInv and amax float32[1]. */
export type ScaledTensor = Required<Quantized>;

/** Rounds x (float32, bfloat16 or float16) to dtype with the stored scale, or without a state with that of x itself. */
export function quantizeWith(state: { readonly scale: Tensor } | null, x: Tensor, dtype: Float8): ScaledTensor {
  expectTensor("quantizeWith", { x });
  if (state !== null) {
    expectObject("quantizeWith", { state });
    expectTensor("quantizeWith", { "state.scale": state.scale });
  }
  const scale = state ? state.scale : currentScale(x, dtype);
  return quantizedBy({ scale }, quantizeOp({ x, scale }, { dtype }));
}

/** The scale that takes the largest magnitude of x to the largest value of dtype, float32[1]; 1 where there is none. */
export function currentScale(x: Tensor, dtype: Float8): Tensor {
  expectTensor("currentScale", { x });
  expectFloat("currentScale", { x });
  const amax = x.size === 0 ? zeros([1]) : x.abs().max().astype("float32").reshape([1]);
  const scale = div(float8Max(dtype), amax).minimum(finfo("float32").max);
  return amax.gt(0).logicalAnd(amax.isFinite()).where(scale, 1);
}

/** The result of an op that rounded to FP8 with the stored scale itself. */
export function quantizedBy(
  state: { readonly scale: Tensor },
  rounded: { readonly q: Tensor; readonly amax: Tensor },
): ScaledTensor {
  expectObject("quantizedBy", { state, rounded });
  const { q, amax } = rounded;
  expectTensor("quantizedBy", { "state.scale": state.scale, q, amax });
  checkFloat8("quantizedBy", "q", q.dtype);
  return { q, scaleInv: div(1, state.scale), amax };
}

/** The tensor in float32 again: q * scaleInv. */
export function dequantize(of: Pick<Quantized, "q" | "scaleInv">): Tensor {
  expectObject("dequantize", { of });
  expectTensor("dequantize", { q: of.q, scaleInv: of.scaleInv });
  return of.q.astype("float32").mul(of.scaleInv.reshape([]));
}

/** The product of x and kernel, both in FP8 with one scale each: free axes of x, free axes of the kernel. */
export function forwardDot(x: Quantized, kernel: Quantized, axes: ContractAxes, options: ForwardDotOptions): Tensor {
  const fn = "forwardDot";
  expectQuantized(fn, { x, kernel });
  expectObject(fn, { axes, options });
  const { lhsContract, rhsContract } = axes;
  const { dtype, bias } = options;
  return scaledDotOp(
    { a: x.q, b: kernel.q, aScaleInv: x.scaleInv, bScaleInv: kernel.scaleInv, bias: bias ?? undefined },
    { lhsContract, rhsContract, dtype: dtype as "float32" | "bfloat16" | "float16" },
  ).y;
}
