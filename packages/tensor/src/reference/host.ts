/** Reading and writing host arrays in the evaluators of primitive ops. */
import { sizeOf, stridesOf } from "../aval.js";
import { allocate, type DType, isFloat, type TypedArray } from "../dtype.js";
import { fromFloat64, toFloat64 } from "../float-codes.js";
import type { HostArray } from "../op.js";
import { stridedCopy } from "./strided.js";

/** True when the array holds numbers rather than codes of a narrow float type. */
const holdsNumbers = ({ dtype, data }: HostArray): boolean =>
  data instanceof Float64Array || dtype === "float32" || !isFloat(dtype);

/** The values as float64. May be the array itself: do not write to it. */
export const loadFloat64 = (host: HostArray): Float64Array => toFloat64(host.dtype, host.data);

/**
 * Rounds float64 values into an array: floats to nearest even, integers toward zero and saturating. An array of the
 * wide evaluator keeps them unrounded.
 */
export function storeFloat64(values: ArrayLike<number>, out: HostArray): void {
  fromFloat64(out.dtype, values, out.data);
}

/** The values as numbers, without a copy where the storage holds numbers. Do not write to the result. */
export const loadNumbers = (host: HostArray): TypedArray => (holdsNumbers(host) ? host.data : loadFloat64(host));

/** Calls `body` with an array to write numbers to and rounds them into `out`; integers wrap around. */
export function storeNumbers(out: HostArray, body: (to: TypedArray) => void): void {
  if (holdsNumbers(out)) {
    body(out.data);
    return;
  }
  const values = new Float64Array(out.data.length);
  body(values);
  storeFloat64(values, out);
}

/** An empty array of the same kind as `data`. */
export function emptyLike(data: TypedArray, dtype: DType, length: number): TypedArray {
  return data instanceof Float64Array ? new Float64Array(length) : allocate(dtype, length);
}

/** Strides that repeat an array of `shape` over `outShape`: 0 along repeated axes. */
export function broadcastStrides(shape: readonly number[], outShape: readonly number[]): number[] {
  const strides = stridesOf(shape);
  const lead = outShape.length - shape.length;
  return outShape.map((_, i) => (i < lead || shape[i - lead] === 1 ? 0 : strides[i - lead]!));
}

/** The numbers of an operand, repeated to `shape` by NumPy's rule. Do not write to the result. */
export function loadBroadcast(host: HostArray, shape: readonly number[]): TypedArray {
  const values = loadNumbers(host);
  const size = sizeOf(shape);
  if (values.length === size) return values;
  const out = emptyLike(values, host.dtype, size);
  if (values.length === 1) return out.fill(values[0]!);
  stridedCopy(shape, values, broadcastStrides(host.shape, shape), 0, out, stridesOf(shape), 0);
  return out;
}
