/**
 * Reading and writing host arrays in the evaluators of primitive ops. Loops run over Float64Array only: integers and
 * decoded floats fit exactly, and a loop that always sees one kind of array is several times faster.
 */
import { broadcastShapes, checkAval, checkShape, sameShape, sizeOf, stridesOf } from "../aval.js";
import { allocate, isFloat } from "../dtype.js";
import { fail } from "../errors.js";
import { expectFunction, expectTyped } from "../expect.js";
import { fromFloat64, toFloat64 } from "../float-codes.js";
import type { HostArray } from "../op.js";
import { stridedCopy } from "./strided.js";

/** The values as float64. May be the array itself: do not write to it. */
export function loadFloat64(host: HostArray): Float64Array {
  checkAval("loadFloat64", host);
  return toFloat64(host.dtype, host.data);
}

/**
 * Rounds float64 values into an array: floats to nearest even, integers toward zero and saturating. An array of the
 * wide evaluator keeps them unrounded.
 */
export function storeFloat64(values: ArrayLike<number>, out: HostArray): void {
  checkAval("storeFloat64", out);
  fromFloat64(out.dtype, values, out.data);
}

/** Calls `body` with an array of zeros to write to, then rounds it into `out`. Integers wrap around. */
export function storeNumbers(out: HostArray, body: (to: Float64Array) => void): void {
  checkAval("storeNumbers", out);
  expectTyped("storeNumbers", { "out.data": out.data });
  expectFunction("storeNumbers", { body });
  const values = out.data instanceof Float64Array ? out.data : new Float64Array(out.data.length);
  body(values);
  if (out.data === values) return;
  if (isFloat(out.dtype)) storeFloat64(values, out);
  else out.data.set(values);
}

/** Strides that repeat an array of `shape` over `outShape`: 0 along repeated axes. */
export function broadcastStrides(shape: readonly number[], outShape: readonly number[]): number[] {
  const strides = stridesOf(shape);
  const lead = outShape.length - shape.length;
  return outShape.map((_, i) => (i < lead || shape[i - lead] === 1 ? 0 : strides[i - lead]!));
}

/** The values of an operand, repeated to `shape` by NumPy's rule. Do not write to the result. */
export function loadBroadcast(host: HostArray, shape: readonly number[]): Float64Array {
  const values = loadFloat64(host);
  const size = sizeOf(checkShape("loadBroadcast", shape));
  if (values.length === size) return values;
  if (!sameShape(broadcastShapes("loadBroadcast", host.shape, shape), shape) || values.length !== sizeOf(host.shape))
    fail("shape", "loadBroadcast", `the operand must broadcast to [${shape.join(",")}]`, host);
  const out = allocate("float64", size) as Float64Array;
  if (values.length === 1) return out.fill(values[0]!);
  stridedCopy(shape, values, broadcastStrides(host.shape, shape), 0, out, stridesOf(shape), 0);
  return out;
}
