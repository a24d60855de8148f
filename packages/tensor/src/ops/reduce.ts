/** Sums, products and extremes over axes. */
import { type Aval, aval, normalizeAxes, sizeOf, stridesOf } from "../aval.js";
import { defineOp } from "../define-op.js";
import { isFloat } from "../dtype.js";
import { fail } from "../errors.js";
import { expectFinite } from "../expect.js";
import { INTEGER_RANGE } from "../float-codes.js";
import type { HostArray } from "../op.js";
import { withDefaults } from "../options.js";
import { loadFloat64, storeNumbers } from "../reference/host.js";
import { stridedCopy } from "../reference/strided.js";
import { axisTerm, type Reduction, rule } from "../sharding/rule.js";
import type { Tensor } from "../tensor.js";
import { cast } from "./cast.js";
import { expectTensor } from "./check.js";
import { broadcastTo, reshape } from "./reshape.js";
import { select } from "./select.js";

/** Options of reductions. */
export interface ReduceOptions {
  /** Keep the reduced axes with length 1 (default false). */
  readonly keepDims?: boolean;
}

const reducedShape = (shape: readonly number[], axes: readonly number[], keepDims: boolean): number[] =>
  shape.flatMap((d, i) => (!axes.includes(i) ? [d] : keepDims ? [1] : []));

/** Combines values[start] … values[end - 1], beginning with `initial`. */
type Fold = (values: Float64Array, start: number, end: number, initial: number) => number;

interface ReduceSpec {
  readonly name: string;
  readonly fold: Fold;
  /** The same on integers, modulo 2^32, when it is another loop. */
  readonly integerFold?: Fold;
  /** The result over nothing. */
  readonly empty: (x: Aval) => number;
  readonly bools: boolean;
  /** How the results of parts are combined; without it the reduced axes are whole. */
  readonly combine?: Reduction;
  readonly gradient: (dy: Tensor, x: Tensor, y: Tensor, axes: readonly number[]) => Tensor;
}

/** The values of x in [kept, reduced] order, so that each result is one run. */
function rowsOf(x: HostArray, axes: readonly number[]): Float64Array {
  const values = loadFloat64(x);
  const kept = x.shape.map((_, i) => i).filter((i) => !axes.includes(i));
  const order = [...kept, ...axes];
  if (order.every((axis, i) => axis === i)) return values;
  const strides = stridesOf(x.shape);
  const shape = order.map((axis) => x.shape[axis]!);
  const rows = new Float64Array(values.length);
  stridedCopy(
    shape,
    values,
    order.map((axis) => strides[axis]!),
    0,
    rows,
    stridesOf(shape),
    0,
  );
  return rows;
}

function reduceOp(spec: ReduceSpec) {
  const { name, bools } = spec;
  const fn = name.replace("reduce_", "");
  return defineOp(name, {
    inputs: ["x"],
    outputs: ["y"],
    params: { axes: [] as readonly number[], keepDims: false },
    kinds: { axes: "sizes" },
    shape: ({ x }, { axes, keepDims }) => {
      normalizeAxes(fn, axes, x.shape.length);
      if (x.dtype === "bool" && !bools) fail("dtype", fn, "x must hold numbers", x, 'Cast it with astype("int32").');
      return { y: aval(reducedShape(x.shape, axes, keepDims), x.dtype) };
    },
    sharding({ x }, { axes, keepDims }) {
      const names = axisTerm(x.shape, spec.combine ? [] : axes).split(" ");
      const kept = names.flatMap((name, i) => (!axes.includes(i) ? [name] : keepDims ? ["1"] : []));
      const reduced = spec.combine ? axes.map((axis) => [names[axis]!, spec.combine!] as const) : [];
      return rule(`${names.join(" ")} -> ${kept.join(" ")}`, { reduce: Object.fromEntries(reduced) });
    },
    evaluate({ x }, { axes }, { y }) {
      const length = sizeOf(axes.map((axis) => x.shape[axis]!));
      const rows = rowsOf(x, axes);
      const fold = isFloat(x.dtype) ? spec.fold : (spec.integerFold ?? spec.fold);
      const initial = spec.empty(x);
      storeNumbers(y, (to) => {
        for (let i = 0; i < to.length; i++) to[i] = fold(rows, i * length, (i + 1) * length, initial);
      });
    },
    vjp: ({ inputs: { x }, outputs, grads, params: { axes } }) => {
      if (!isFloat(x.dtype)) return {};
      const kept = reducedShape(x.shape, axes, true);
      return { x: spec.gradient(reshape(grads.y, kept), x, reshape(outputs.y, kept), axes) };
    },
    cases: (c) => [
      ...c.product(
        {
          dtype: ["float32", "bfloat16", "float16", "int32"] as const,
          axes: [[0], [1], [2], [0, 2], [0, 1, 2], []],
          keepDims: [false, true],
        },
        ({ dtype }) => ({
          x:
            dtype === "int32"
              ? c.integers([3, 31, 5], { low: 1, high: 4 })
              : c.uniform([3, 31, 5], { dtype, low: 0.9, high: 1.1 }),
        }),
        ({ axes, keepDims }) => ({ axes, keepDims }),
      ),
      c.case("over nothing", { x: c.normal([3, 0]) }, { axes: [1] }, { gradient: false }),
      c.case("row of 33", { x: c.normal([32, 33]) }, { axes: [1] }),
      c.case("ties", { x: c.values([2, 4], [1, 1, 1, 1, 2, 3, 3, 2]) }, { axes: [1] }, { gradient: false }),
      c.bench("rows of 1024", { x: c.normal([8192, 1024]) }, { axes: [1] }, { bytes: 2 ** 25 }),
      c.bench("columns of 8192", { x: c.normal([8192, 1024]) }, { axes: [0] }, { bytes: 2 ** 25 }),
    ],
  });
}

/** Elements that equal the extreme share the cotangent. */
function shareExtreme(dy: Tensor, x: Tensor, y: Tensor, axes: readonly number[]): Tensor {
  const hit = cast(x.eq(y), x.dtype);
  return hit.mul(dy.div(sum(hit, axes, { keepDims: true })));
}

/** dy times the product of the other elements, which is right also where some are zero. */
function productGradient(dy: Tensor, x: Tensor, _: Tensor, axes: readonly number[]): Tensor {
  const zero = x.eq(0);
  const nonzero = select(zero, 1, x);
  const others = prod(nonzero, axes, { keepDims: true }).div(nonzero);
  const zeros = sum(zero, axes, { keepDims: true });
  const alone = select(zero, zeros.eq(1), zeros.eq(0));
  return dy.mul(select(alone, others, 0));
}

const lowest = ({ dtype }: Aval): number =>
  isFloat(dtype)
    ? Number.NEGATIVE_INFINITY
    : dtype === "bool"
      ? 0
      : INTEGER_RANGE[dtype as keyof typeof INTEGER_RANGE][0];
const highest = ({ dtype }: Aval): number =>
  isFloat(dtype)
    ? Number.POSITIVE_INFINITY
    : dtype === "bool"
      ? 1
      : INTEGER_RANGE[dtype as keyof typeof INTEGER_RANGE][1];

export const reduceSumOp = reduceOp({
  name: "reduce_sum",
  fold: (values, start, end, initial) => {
    let total = initial;
    for (let i = start; i < end; i++) total += values[i]!;
    return total;
  },
  empty: () => 0,
  bools: false,
  combine: "sum",
  gradient: (dy, x) => broadcastTo(dy, x.shape),
});
export const reduceProdOp = reduceOp({
  name: "reduce_prod",
  fold: (values, start, end, initial) => {
    let total = initial;
    for (let i = start; i < end; i++) total *= values[i]!;
    return total;
  },
  integerFold: (values, start, end, initial) => {
    let total = initial;
    for (let i = start; i < end; i++) total = Math.imul(total, values[i]!);
    return total;
  },
  empty: () => 1,
  bools: false,
  gradient: productGradient,
});
export const reduceMaxOp = reduceOp({
  name: "reduce_max",
  fold: (values, start, end, initial) => {
    let best = initial;
    for (let i = start; i < end; i++) best = Math.max(best, values[i]!);
    return best + 0; // 0, not -0
  },
  empty: lowest,
  bools: true,
  combine: "max",
  gradient: shareExtreme,
});
export const reduceMinOp = reduceOp({
  name: "reduce_min",
  fold: (values, start, end, initial) => {
    let best = initial;
    for (let i = start; i < end; i++) best = Math.min(best, values[i]!);
    return best + 0;
  },
  empty: highest,
  bools: true,
  combine: "min",
  gradient: shareExtreme,
});

type Axes = number | readonly number[];

/** Numbers of x that can be added and multiplied: bool counts as int32. */
function numbersOf(fn: string, x: Tensor): Tensor {
  expectTensor(fn, { x });
  return x.dtype === "bool" ? cast(x, "int32") : x;
}

function axesOf(fn: string, x: Tensor, axes: Axes | undefined): number[] {
  expectTensor(fn, { x });
  return normalizeAxes(fn, axes, x.rank);
}

/** The sum over axes (all by default). bool counts as int32; narrow floats accumulate in float32 and round once. */
export function sum(x: Tensor, axes?: Axes, options: ReduceOptions = {}): Tensor {
  const { keepDims } = withDefaults("sum", options, { keepDims: false });
  const numbers = numbersOf("sum", x);
  return reduceSumOp({ x: numbers }, { axes: axesOf("sum", x, axes), keepDims }).y;
}

/** The product over axes (all by default). */
export function prod(x: Tensor, axes?: Axes, options: ReduceOptions = {}): Tensor {
  const { keepDims } = withDefaults("prod", options, { keepDims: false });
  const numbers = numbersOf("prod", x);
  return reduceProdOp({ x: numbers }, { axes: axesOf("prod", x, axes), keepDims }).y;
}

/** The largest element over axes (all by default); NaN if there is one, -∞ over nothing. Ties share the gradient. */
export function max(x: Tensor, axes?: Axes, options: ReduceOptions = {}): Tensor {
  const { keepDims } = withDefaults("max", options, { keepDims: false });
  return reduceMaxOp({ x }, { axes: axesOf("max", x, axes), keepDims }).y;
}

/** The smallest element over axes (all by default); NaN if there is one, ∞ over nothing. Ties share the gradient. */
export function min(x: Tensor, axes?: Axes, options: ReduceOptions = {}): Tensor {
  const { keepDims } = withDefaults("min", options, { keepDims: false });
  return reduceMinOp({ x }, { axes: axesOf("min", x, axes), keepDims }).y;
}

/** The mean over axes (all by default), computed in float32 and rounded to the dtype of x; integers give float32. */
export function mean(x: Tensor, axes?: Axes, options: ReduceOptions = {}): Tensor {
  const { keepDims } = withDefaults("mean", options, { keepDims: false });
  const which = axesOf("mean", x, axes);
  const count = sizeOf(which.map((axis) => x.shape[axis]!));
  const total = sum(cast(x, x.dtype === "float64" ? "float64" : "float32"), which, { keepDims });
  const average = total.div(count);
  return isFloat(x.dtype) ? cast(average, x.dtype) : average;
}

/**
 * The variance over axes (all by default): the mean of (x - mean)², with the count less `correction` (0) as divisor.
 * Computed in float32 and rounded to the dtype of x; integers give float32.
 */
export function variance(
  x: Tensor,
  axes?: Axes,
  options: ReduceOptions & { readonly correction?: number } = {},
): Tensor {
  const { keepDims, correction } = withDefaults("variance", options, { keepDims: false, correction: 0 });
  expectFinite("variance", { correction });
  const which = axesOf("variance", x, axes);
  const count = sizeOf(which.map((axis) => x.shape[axis]!));
  const wide = cast(x, x.dtype === "float64" ? "float64" : "float32");
  const centred = wide.sub(mean(wide, which, { keepDims: true }));
  const result = sum(centred.mul(centred), which, { keepDims }).div(count - correction);
  return isFloat(x.dtype) ? cast(result, x.dtype) : result;
}

/** Whether all elements over axes (all by default) are true, or not 0. */
export function all(x: Tensor, axes?: Axes, options: ReduceOptions = {}): Tensor {
  return min(truth("all", x), axes, withDefaults("all", options, { keepDims: false }));
}

/** Whether any element over axes (all by default) is true, or not 0. */
export function any(x: Tensor, axes?: Axes, options: ReduceOptions = {}): Tensor {
  return max(truth("any", x), axes, withDefaults("any", options, { keepDims: false }));
}

function truth(fn: string, x: Tensor): Tensor {
  expectTensor(fn, { x });
  return x.dtype === "bool" ? x : x.ne(0);
}
