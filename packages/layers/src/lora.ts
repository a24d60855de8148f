/** Low-rank adapters beside the products of layers: their options, parameters and result. */
import { type DType, dot, TeError, type Tensor } from "@te/tensor";
import { type Defaults, expectObject, fail } from "@te/tensor/op";
import { type Initializer, zeros } from "./initializers.js";
import type { ParameterMaker } from "./module.js";

export interface LoraOptions {
  /** Add a trainable low-rank product to the dense one. Default false. */
  enableLowRankAdaptation?: boolean;
  /** The rank r. Default 32. */
  lowRankAdaptationDim?: number;
  /** Scale the adapter by alpha / r. Default null: no scale. */
  lowRankAdaptationAlpha?: number | null;
}

export const loraDefaults = {
  enableLowRankAdaptation: false,
  lowRankAdaptationDim: 32,
  lowRankAdaptationAlpha: null,
} satisfies Defaults<LoraOptions>;

/** What an adapter needs to know of its module. */
export interface AdapterOptions {
  readonly lowRankAdaptationDim: number;
  readonly lowRankAdaptationAlpha: number | null;
  readonly dtype: DType;
}

/** Throws unless the rank is a positive integer and alpha, where there is one, a number. */
export function checkLora(fn: string, options: Omit<AdapterOptions, "dtype">): void {
  expectObject(fn, { options });
  const { lowRankAdaptationDim: rank, lowRankAdaptationAlpha: alpha } = options;
  if (!Number.isSafeInteger(rank) || rank < 1)
    fail("option", fn, "lowRankAdaptationDim must be an integer of at least 1", rank);
  if (alpha !== null && !Number.isFinite(alpha))
    fail("option", fn, "lowRankAdaptationAlpha must be a finite number or null", alpha);
}

const MAX_AXES = 5;

/** Shapes of A [in..., features[:-1]..., r] and B [features[:-1]..., r, features[-1]]. */
function loraShapes(
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
 * The adapter of one product, with its parameters `<prefix>lora_a_kernel`, drawn by `init`, and `<prefix>lora_b_kernel`,
 * zeros: neither is ever split or quantised.
 */
export function adapter(
  param: ParameterMaker,
  prefix: "" | "wi_" | "wo_",
  init: Initializer,
  x: Tensor,
  axes: readonly number[],
  features: readonly number[],
  { lowRankAdaptationDim: rank, lowRankAdaptationAlpha: alpha, dtype }: AdapterOptions,
): Tensor {
  const shapes = loraShapes(
    axes.map((axis) => x.shape[axis]!),
    features,
    rank,
  );
  const whole = (shape: number[]) => ({ dtype, axes: shape.map(() => null) });
  const a = param(`${prefix}lora_a_kernel`, init, shapes.a, whole(shapes.a));
  const b = param(`${prefix}lora_b_kernel`, zeros, shapes.b, whole(shapes.b));
  return loraProduct(x, a, b, axes, alpha);
}

/**
 * s * x·A·B with s = alpha / r, or 1. The axes `axes` of x are contracted with the leading ones of A; every packed slice
 * (q, k, v, or an activation) has its own A and B.
 */
function loraProduct(x: Tensor, a: Tensor, b: Tensor, axes: readonly number[], alpha: number | null): Tensor {
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
  return alpha === null ? y : y.mul(alpha / rank);
}
