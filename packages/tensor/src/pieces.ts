/** Long work on host arrays, cut into pieces between which the event loop turns: a piece takes a few milliseconds. */
import { setImmediate as turn } from "node:timers/promises";
import type { DType, TypedArray } from "./dtype.js";
import { toFloat64 } from "./float-codes.js";

const COPIED_BYTES = 2 ** 22;
const DECODED = 2 ** 20;
const NESTED = 2 ** 16;

/** Nested arrays of numbers, as deep as the shape. */
export type NestedArray = number | boolean | readonly NestedArray[];

export async function copyInPieces(data: TypedArray): Promise<TypedArray> {
  if (data.byteLength <= COPIED_BYTES) return data.slice();
  const copy = new (data.constructor as new (length: number) => TypedArray)(data.length);
  const step = COPIED_BYTES / data.BYTES_PER_ELEMENT;
  for (let at = 0; at < data.length; at += step) {
    copy.set(data.subarray(at, at + step), at);
    await turn();
  }
  return copy;
}

export async function decodeInPieces(dtype: DType, codes: TypedArray): Promise<Float64Array> {
  if (codes.length <= DECODED) return toFloat64(dtype, codes);
  const values = new Float64Array(codes.length);
  for (let at = 0; at < codes.length; at += DECODED) {
    values.set(toFloat64(dtype, codes.subarray(at, at + DECODED)), at);
    await turn();
  }
  return values;
}

export async function nestInPieces(
  values: Float64Array,
  shape: readonly number[],
  asBool: boolean,
): Promise<NestedArray> {
  if (values.length <= NESTED || shape.length === 0) return nest(values, shape, asBool);
  const [rows, ...row] = shape as [number, ...number[]];
  const each = values.length / rows;
  const all: NestedArray[] = [];
  for (let i = 0, made = 0; i < rows; i++) {
    const part = values.subarray(i * each, (i + 1) * each);
    all.push(each > NESTED ? await nestInPieces(part, row, asBool) : nest(part, row, asBool));
    made += each;
    if (made < NESTED) continue;
    made = 0;
    await turn();
  }
  return all;
}

function nest(values: Float64Array, shape: readonly number[], asBool: boolean): NestedArray {
  let next = 0;
  const build = (axis: number): NestedArray => {
    if (axis === shape.length) {
      const value = values[next++]!;
      return asBool ? value !== 0 : value;
    }
    return Array.from({ length: shape[axis]! }, () => build(axis + 1));
  };
  return build(0);
}
