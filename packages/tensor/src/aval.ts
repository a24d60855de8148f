import { bytesOf, type DType } from "./dtype.js";
import { fail } from "./errors.js";

/** What is known of a value before it exists: its shape and dtype. Printed as bfloat16[4,128,768]. */
export interface Aval {
  readonly shape: readonly number[];
  readonly dtype: DType;
}

/** A shape and a dtype as one value. */
export const aval = (shape: readonly number[], dtype: DType): Aval => ({ shape, dtype });

/** "float32[2,3]". */
export const formatAval = ({ shape, dtype }: Aval): string => `${dtype}[${shape.join(",")}]`;

/** The number of elements of a shape. */
export function sizeOf(shape: readonly number[]): number {
  let size = 1;
  for (const d of shape) size *= d;
  return size;
}

/** Bytes that a value takes. */
export const byteSize = ({ shape, dtype }: Aval): number => sizeOf(shape) * bytesOf(dtype);

/** Whether two shapes are equal. */
export const sameShape = (a: readonly number[], b: readonly number[]): boolean =>
  a.length === b.length && a.every((d, i) => d === b[i]);

/** Whether shape and dtype are equal. */
export const sameAval = (a: Aval, b: Aval): boolean => a.dtype === b.dtype && sameShape(a.shape, b.shape);

/** Row-major strides in elements. */
export function stridesOf(shape: readonly number[]): number[] {
  const strides = new Array<number>(shape.length);
  let step = 1;
  for (let i = shape.length - 1; i >= 0; i--) {
    strides[i] = step;
    step *= shape[i]!;
  }
  return strides;
}

const MAX_ELEMENTS = 2 ** 48;

/** Throws unless every dimension is a non-negative integer and the product is addressable. */
export function checkShape(fn: string, shape: readonly number[]): readonly number[] {
  if (!Array.isArray(shape)) fail("shape", fn, "shape must be an array of non-negative integers", shape);
  for (const d of shape) {
    if (!Number.isSafeInteger(d) || d < 0) {
      fail("shape", fn, "every dimension must be a non-negative integer", `[${shape.join(", ")}]`);
    }
  }
  if (sizeOf(shape) > MAX_ELEMENTS) {
    fail("memory", fn, `a tensor may hold at most 2^48 elements`, `[${shape.join(", ")}]`, "Split it.");
  }
  return shape;
}

/** A negative axis counts from the end. */
export function normalizeAxis(fn: string, axis: number, rank: number): number {
  if (!Number.isInteger(axis) || axis < -rank || axis >= rank) {
    fail("shape", fn, `axis must be an integer in [${-rank}, ${rank})`, axis ?? String(axis));
  }
  return axis < 0 ? axis + rank : axis;
}

/** Normalised, sorted, without duplicates; undefined means every axis. */
export function normalizeAxes(fn: string, axes: number | readonly number[] | undefined, rank: number): number[] {
  if (axes === undefined) return Array.from({ length: rank }, (_, i) => i);
  const list = typeof axes === "number" ? [axes] : axes;
  if (!Array.isArray(list)) fail("shape", fn, "axes must be an integer or an array of integers", axes);
  const normal = list.map((a) => normalizeAxis(fn, a, rank)).sort((a, b) => a - b);
  if (new Set(normal).size !== normal.length) fail("shape", fn, "axes must be distinct", `[${list.join(", ")}]`);
  return normal;
}

/** The shape two shapes broadcast to, by NumPy's rule. */
export function broadcastShapes(fn: string, ...shapes: (readonly number[])[]): number[] {
  const rank = Math.max(0, ...shapes.map((s) => s.length));
  const out = new Array<number>(rank).fill(1);
  for (const shape of shapes) {
    for (let i = 0; i < shape.length; i++) {
      const at = rank - shape.length + i;
      const d = shape[i]!;
      if (d === 1 || d === out[at]) continue;
      if (out[at] !== 1) {
        const list = shapes.map((s) => `[${s.join(",")}]`).join(" and ");
        fail("shape", fn, `shapes ${list} do not broadcast`, `${out[at]} against ${d} in axis ${at - rank}`);
      }
      out[at] = d;
    }
  }
  return out;
}
