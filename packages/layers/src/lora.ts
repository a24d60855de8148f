import { dot, TeError, type Tensor } from "@te/tensor";

export interface LoraOptions {
  /** Add a trainable low-rank product to the dense one. Default false. */
  enableLowRankAdaptation?: boolean;
  /** The rank r. Default 32. */
  lowRankAdaptationDim?: number;
  /** Scale the adapter by alpha / r. Default: no scale. */
  lowRankAdaptationAlpha?: number | null;
}

const MAX_AXES = 5;

/** Shapes of A [in..., features[:-1]..., r] and B [features[:-1]..., r, features[-1]]. */
export function loraShapes(
  inputs: readonly number[],
  features: readonly number[],
  rank: number,
): { a: number[]; b: number[] } {
  if (inputs.length > MAX_AXES || features.length > MAX_AXES) {
    throw new TeError(
      "option",
      `lora: at most ${MAX_AXES} contracted axes and ${MAX_AXES} feature axes are supported, got ${inputs.length} and ${features.length}.`,
    );
  }
  const packed = features.slice(0, -1);
  return { a: [...inputs, ...packed, rank], b: [...packed, rank, features.at(-1)!] };
}

/**
 * s * x·A·B with s = alpha / r, or 1. The axes `axes` of x are contracted with the leading ones of A; every packed slice
 * (q, k, v, or an activation) has its own A and B.
 */
export function loraProduct(
  x: Tensor,
  a: Tensor,
  b: Tensor,
  axes: readonly number[],
  alpha: number | null | undefined,
): Tensor {
  const packed = b.rank - 2;
  const low = dot(x, a.astype(x.dtype), { lhsContract: axes, rhsContract: axes.map((_, i) => i) });
  const lead = low.rank - packed - 1;
  const slices = Array.from({ length: packed }, (_, i) => i);
  const product = dot(low, b.astype(x.dtype), {
    lhsContract: [low.rank - 1],
    rhsContract: [packed],
    lhsBatch: slices.map((i) => lead + i),
    rhsBatch: slices,
  });
  const order = [...Array.from({ length: lead }, (_, i) => packed + i), ...slices, product.rank - 1];
  const y = packed ? product.transpose(order) : product;
  const rank = a.shape.at(-1)!;
  return alpha === null || alpha === undefined ? y : y.mul(alpha / rank);
}
