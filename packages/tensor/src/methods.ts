/** The ops as methods of Tensor. Importing this module attaches them. */

import type { DType } from "./dtype.js";
import { fail } from "./errors.js";
import { argmax, argmin } from "./ops/argmax.js";
import * as arithmetic from "./ops/arithmetic.js";
import type { TensorLike } from "./ops/binary.js";
import { logicalAnd, logicalOr } from "./ops/bits.js";
import { bitcast, cast } from "./ops/cast.js";
import { eq, ge, gt, le, lt, ne } from "./ops/compare.js";
import { cumsum } from "./ops/cumsum.js";
import { type DotOptions, dot, matmul } from "./ops/dot.js";
import { flip } from "./ops/flip.js";
import { at, type Index } from "./ops/index-with.js";
import * as predicates from "./ops/predicates.js";
import type { ReduceOptions } from "./ops/reduce.js";
import * as reduce from "./ops/reduce.js";
import * as shapes from "./ops/reshape.js";
import { clip, select } from "./ops/select.js";
import { slice } from "./ops/slice.js";
import { argsort, type SortOptions, sort } from "./ops/sort.js";
import { take, takeAlongAxis } from "./ops/take.js";
import * as unary from "./ops/unary.js";
import { Tensor } from "./tensor.js";
import { stopGradient } from "./transforms/checkpoint.js";

type Axes = number | readonly number[];

/**
 * Methods of {@link Tensor} that are ops. Operands broadcast by NumPy's rule; tensors of different dtypes promote as in
 * JAX; a number takes the dtype of the tensor, and is an error where that dtype cannot hold it.
 */
export interface TensorMethods {
  /** this + other. */
  add(other: TensorLike): Tensor;
  /** this - other. */
  sub(other: TensorLike): Tensor;
  /** this · other, elementwise. */
  mul(other: TensorLike): Tensor;
  /** this / other. Integers truncate toward zero. */
  div(other: TensorLike): Tensor;
  /** The remainder of truncated division, with the sign of this. */
  rem(other: TensorLike): Tensor;
  /** this to the power of other. */
  pow(other: TensorLike): Tensor;
  /** The larger one, elementwise; NaN if either is NaN. */
  maximum(other: TensorLike): Tensor;
  /** The smaller one, elementwise; NaN if either is NaN. */
  minimum(other: TensorLike): Tensor;
  /** this held between low and high; either bound may be left out. */
  clip(low?: TensorLike, high?: TensorLike): Tensor;

  /** -this. */
  neg(): Tensor;
  /** |this|. */
  abs(): Tensor;
  /** -1, 0 or 1. */
  sign(): Tensor;
  /** e^this. */
  exp(): Tensor;
  /** The natural logarithm. */
  log(): Tensor;
  /** log(1 + this). */
  log1p(): Tensor;
  /** e^this - 1. */
  expm1(): Tensor;
  /** √this. */
  sqrt(): Tensor;
  /** 1/√this. */
  rsqrt(): Tensor;
  sin(): Tensor;
  cos(): Tensor;
  tanh(): Tensor;
  /** 1 / (1 + e^-this). */
  sigmoid(): Tensor;
  /** The error function. */
  erf(): Tensor;
  /** Rounds down. */
  floor(): Tensor;
  /** Rounds up. */
  ceil(): Tensor;
  /** Rounds to the nearest integer, halves to even. */
  round(): Tensor;

  /** this = other, as bool. */
  eq(other: TensorLike): Tensor;
  /** this ≠ other, as bool. */
  ne(other: TensorLike): Tensor;
  /** this < other, as bool. */
  lt(other: TensorLike): Tensor;
  /** this ≤ other, as bool. */
  le(other: TensorLike): Tensor;
  /** this > other, as bool. */
  gt(other: TensorLike): Tensor;
  /** this ≥ other, as bool. */
  ge(other: TensorLike): Tensor;
  /** Not true, as bool; numbers count as true when they are not 0. */
  logicalNot(): Tensor;
  /** Both true, as bool. */
  logicalAnd(other: Tensor): Tensor;
  /** Either true, as bool. */
  logicalOr(other: Tensor): Tensor;
  /** Neither infinite nor NaN, as bool. */
  isFinite(): Tensor;
  /** NaN, as bool. */
  isNaN(): Tensor;
  /** a where this is true, b elsewhere. */
  where(a: TensorLike, b: TensorLike): Tensor;

  /** The sum over axes (all by default); narrow floats accumulate in float32. */
  sum(axes?: Axes, options?: ReduceOptions): Tensor;
  /** The mean over axes (all by default), computed in float32. */
  mean(axes?: Axes, options?: ReduceOptions): Tensor;
  /** The variance over axes (all by default); the divisor is the count less `correction` (0). */
  variance(axes?: Axes, options?: ReduceOptions & { readonly correction?: number }): Tensor;
  /** The largest element over axes (all by default). */
  max(axes?: Axes, options?: ReduceOptions): Tensor;
  /** The smallest element over axes (all by default). */
  min(axes?: Axes, options?: ReduceOptions): Tensor;
  /** The product over axes (all by default). */
  prod(axes?: Axes, options?: ReduceOptions): Tensor;
  /** Whether all elements over axes are true. */
  all(axes?: Axes, options?: ReduceOptions): Tensor;
  /** Whether any element over axes is true. */
  any(axes?: Axes, options?: ReduceOptions): Tensor;
  /** Index of the first largest element along an axis, or in the flattened tensor. */
  argmax(axis?: number, options?: ReduceOptions): Tensor;
  /** Index of the first smallest element along an axis, or in the flattened tensor. */
  argmin(axis?: number, options?: ReduceOptions): Tensor;
  /** Running sums along an axis. */
  cumsum(axis: number, options?: { readonly reverse?: boolean; readonly exclusive?: boolean }): Tensor;
  /** The elements in order along an axis (the last by default). */
  sort(axis?: number, options?: SortOptions): Tensor;
  /** The indices that would put this in order along an axis (the last by default). */
  argsort(axis?: number, options?: SortOptions): Tensor;

  /** The elements under another shape; one dimension may be -1. */
  reshape(shape: readonly number[]): Tensor;
  /** All elements in one axis. */
  flatten(): Tensor;
  /** Axis k of the result is axis perm[k] of this; without perm the axes are reversed. */
  transpose(perm?: readonly number[]): Tensor;
  /** The axes reversed. */
  readonly T: Tensor;
  /** Two axes exchanged. */
  swapAxes(a: number, b: number): Tensor;
  /** Without axes of length 1: all of them, or those named. */
  squeeze(axes?: Axes): Tensor;
  /** With axes of length 1 at these places of the result. */
  expandDims(axes: Axes): Tensor;
  /** Repeated to a larger shape by NumPy's rule. */
  broadcastTo(shape: readonly number[]): Tensor;
  /** The order along the axes reversed; all axes by default. */
  flip(axes?: Axes): Tensor;
  /** Another dtype, rounding to nearest even; `saturate` clips to the largest finite value first. */
  astype(dtype: DType, options?: { readonly saturate?: boolean }): Tensor;
  /** The bits read as another dtype of the same width. */
  bitcast(dtype: DType): Tensor;

  /** The general product; see {@link dot}. */
  dot(other: Tensor, options?: DotOptions): Tensor;
  /** The matrix product over the last two axes; leading axes broadcast. */
  matmul(other: Tensor, options?: { readonly dtype?: DType }): Tensor;

  /** The part from start up to limit, with a stride, per axis. Negative numbers count from the end. */
  slice(start: readonly number[], limit?: readonly number[], stride?: readonly number[]): Tensor;
  /**
   * Indexing: a number picks and drops an axis, [start, stop, step] takes a range, ":" the whole axis, "..." all axes
   * that are not mentioned, null inserts an axis of length 1. `x.at("...", 0)`, `x.at(":", [1, -1])`.
   */
  at(...indices: Index[]): Tensor;
  /** An axis (0 by default) replaced by the axes of `indices`. An index out of range is an error. */
  take(indices: Tensor, options?: { readonly axis?: number }): Tensor;
  /** The elements at `indices` along one axis; the other axes of both agree. */
  takeAlongAxis(indices: Tensor, axis: number): Tensor;
  /** The same value, a constant for gradients. */
  stopGradient(): Tensor;
}

type Rest<F> = F extends (x: Tensor, ...rest: infer R) => Tensor ? R : never;

/** f(x, …) as the method x.name(…). */
function method<F extends (x: Tensor, ...rest: any[]) => Tensor>(name: string, f: F): (...rest: Rest<F>) => Tensor {
  return function (this: Tensor, ...rest) {
    if (!(this instanceof Tensor))
      fail("option", name, "the method belongs to a tensor", this ?? String(this), `Write x.${name}(…).`);
    return f(this, ...rest);
  };
}

const { add, sub, mul, div, rem, pow, maximum, minimum } = arithmetic;
const { neg, abs, sign, exp, log, log1p, expm1, sqrt, rsqrt, sin, cos, tanh, sigmoid, erf, floor, ceil, round } = unary;
const { sum, mean, variance, max, min, prod, all, any } = reduce;
const { reshape, flatten, transpose, swapAxes, squeeze, expandDims, broadcastTo } = shapes;

const functions = {
  ...{ add, sub, mul, div, rem, pow, maximum, minimum, clip },
  ...{ neg, abs, sign, exp, log, log1p, expm1, sqrt, rsqrt, sin, cos, tanh, sigmoid, erf, floor, ceil, round },
  ...{ eq, ne, lt, le, gt, ge, logicalAnd, logicalOr, where: select },
  ...{ logicalNot: predicates.logicalNot, isFinite: predicates.isFinite, isNaN: predicates.isNaN },
  ...{ sum, mean, variance, max, min, prod, all, any, argmax, argmin, cumsum, sort, argsort },
  ...{ reshape, flatten, transpose, swapAxes, squeeze, expandDims, broadcastTo, flip, astype: cast, bitcast },
  ...{ dot, matmul, slice, at, take, takeAlongAxis, stopGradient },
} satisfies Record<Exclude<keyof TensorMethods, "T">, (x: Tensor, ...rest: any[]) => Tensor>;

for (const [name, f] of Object.entries(functions)) {
  Object.defineProperty(Tensor.prototype, name, {
    value: method(name, f),
    configurable: true,
    writable: true,
  });
}

// The methods of the class itself read private members, which what is no tensor does not have.
for (const name of ["data", "dataSync", "values", "toArray", "item", "dispose", "toString", "toJSON"] as const) {
  const own = Tensor.prototype[name] as (...rest: unknown[]) => any;
  const value = method(name, (x: Tensor, ...rest: unknown[]) => own.apply(x, rest));
  Object.defineProperty(Tensor.prototype, name, { value, configurable: true, writable: true });
}

Object.defineProperty(Tensor.prototype, "T", {
  get(this: Tensor) {
    return transpose(this);
  },
  configurable: true,
});
