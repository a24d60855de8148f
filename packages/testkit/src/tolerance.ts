/**
 * How far a result t may be from its reference r, which is computed in float64 from the inputs as they are, rounded:
 *
 *   N(t, r) = ‖t − r‖₂ / ‖r‖₂      X(t, r) = max|t − r| / max|r|
 *
 * Both must hold. The limits are about twice the noise that correct arithmetic has.
 */
import type { DType } from "@te/tensor";

/** Highest N and X. */
export interface Limit {
  readonly n: number;
  readonly x: number;
}

type ByDType = Readonly<Partial<Record<DType, Limit>>>;

const limit = (n: number, x: number): Limit => ({ n, x });
const NO_X = Number.POSITIVE_INFINITY;

/** One rounding of a float32 result to its dtype. */
const ONE_ROUNDING: ByDType = {
  float32: limit(2e-6, 1e-5),
  bfloat16: limit(3e-3, 1e-2),
  float16: limit(4e-4, 2e-3),
};

const ROWS = {
  gemm: ONE_ROUNDING,
  norm: ONE_ROUNDING,
  activation: ONE_ROUNDING,
  softmax: ONE_ROUNDING,
  /** Any other op that computes in float32 and rounds once. */
  op: ONE_ROUNDING,
  /** A gradient that is composed of several ops in its dtype, each of which rounds. */
  composed: { float32: limit(4e-6, 2e-5), bfloat16: limit(1e-2, 3e-2), float16: limit(1.5e-3, 4e-3) },
  /** Gradients of gamma and beta: sums over all rows. */
  normParameters: { float32: limit(2e-6, 1e-5), bfloat16: limit(4e-3, 1e-2), float16: limit(6e-4, 2e-3) },
  /** Attention's output and the gradient of the queries. */
  attention: { float32: limit(2e-6, 1e-5), bfloat16: limit(5e-3, 2e-2), float16: limit(1e-3, 4e-3) },
  /** Attention's gradients of keys and values. */
  attentionKeyValue: { float32: limit(2e-6, 1e-5), bfloat16: limit(8e-3, 2e-2), float16: limit(1e-3, 4e-3) },
  /** y - x of a transformer layer. */
  layer: { float32: limit(5e-6, 5e-5), bfloat16: limit(1e-2, NO_X), float16: limit(1.5e-3, NO_X) },
  layerInput: { float32: limit(5e-6, 5e-5), bfloat16: limit(8e-3, NO_X), float16: limit(1e-3, NO_X) },
  layerWeight: { float32: limit(5e-6, 5e-5), bfloat16: limit(1.2e-2, NO_X), float16: limit(1.6e-3, NO_X) },
  layerNormParameter: { float32: limit(5e-6, 5e-5), bfloat16: limit(2e-2, NO_X), float16: limit(3e-3, NO_X) },
  /** A product of float8 operands against the product of the same operands decoded; by the dtype of the result. */
  fp8Gemm: { float32: limit(2e-6, NO_X), bfloat16: limit(3e-3, 1e-2), float16: limit(4e-4, 2e-3) },
  /** The same on a GPU whose accumulator is coarser; partial sums are promoted, or (fast) are not. */
  fp8GemmCuda: { float32: limit(2e-3, NO_X), bfloat16: limit(3e-3, 1e-2), float16: limit(2e-3, 1e-2) },
  fp8GemmCudaFast: { float32: limit(1e-2, NO_X), bfloat16: limit(1e-2, NO_X), float16: limit(1e-2, NO_X) },
  /** A float8 product against that of the operands before they were quantised; by the coarser operand. */
  fp8GemmNoise: { float8_e4m3fn: limit(4.5e-2, NO_X), float8_e5m2: limit(7e-2, NO_X) },
  /** Quantised and decoded values against the original, for which X is taken element by element. */
  quantize: { float8_e4m3fn: limit(2.8e-2, 2 ** -4), float8_e5m2: limit(5.5e-2, 2 ** -3) },
  /** A whole layer in float8 against the layer in high precision. */
  layerFp8: { float32: limit(0.09, NO_X), bfloat16: limit(0.09, NO_X), float16: limit(0.09, NO_X) },
  layerFp8Input: { float32: limit(0.1, NO_X), bfloat16: limit(0.1, NO_X), float16: limit(0.1, NO_X) },
  layerFp8Weight: { float32: limit(0.16, NO_X), bfloat16: limit(0.16, NO_X), float16: limit(0.16, NO_X) },
  layerFp8NormParameter: { float32: limit(0.18, NO_X), bfloat16: limit(0.18, NO_X), float16: limit(0.18, NO_X) },
} as const satisfies Record<string, ByDType>;

/** What is compared: a row of the table of limits. */
export type Row = keyof typeof ROWS;

/** The limits of a row for results of a dtype. */
export function limitOf(row: Row | (string & {}), dtype: DType): Limit {
  if (!Object.hasOwn(ROWS, row)) throw new Error(`there is no row ${row} in the table of limits`);
  const found = (ROWS[row as Row] as ByDType)[dtype];
  if (!found) throw new Error(`there is no limit for ${row} in ${dtype}`);
  return found;
}

/** A limit as many times as wide: 2 for results that were summed over ranks in another order. */
export const widen = ({ n, x }: Limit, times: number): Limit => ({ n: n * times, x: x * times });

/**
 * The limit for an array of few elements: N of a handful of roundings scatters about its mean, up to twice that for a
 * single one.
 */
export const forSize = ({ n, x }: Limit, size: number): Limit => ({ n: n * (1 + 1 / Math.sqrt(Math.max(size, 1))), x });

/** ‖t − r‖₂ / ‖r‖₂ over the elements where r is finite; 0 when both are zero. */
export function errorN(t: ArrayLike<number>, r: ArrayLike<number>): number {
  let difference = 0;
  let norm = 0;
  for (let i = 0; i < r.length; i++) {
    if (!Number.isFinite(r[i]!)) continue;
    difference += (t[i]! - r[i]!) ** 2;
    norm += r[i]! ** 2;
  }
  return difference === 0 ? 0 : Math.sqrt(difference / norm);
}

/** max|t − r| / max|r| over the elements where r is finite; 0 when both are zero. */
export function errorX(t: ArrayLike<number>, r: ArrayLike<number>): number {
  let difference = 0;
  let largest = 0;
  for (let i = 0; i < r.length; i++) {
    if (!Number.isFinite(r[i]!)) continue;
    difference = Math.max(difference, Math.abs(t[i]! - r[i]!));
    largest = Math.max(largest, Math.abs(r[i]!));
  }
  return difference === 0 ? 0 : difference / largest;
}
