/** Shapes together with dtypes: sizes, strides and axes, and the checks of all of them. */
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
export function formatAval(of: Aval): string {
  checkAval("formatAval", of);
  return `${of.dtype}[${of.shape.join(",")}]`;
}

/** Throws unless the value has a shape and a dtype. */
export function checkAval(fn: string, of: Aval): void {
  if (typeof of !== "object" || of === null || !areLengths(of.shape) || typeof of.dtype !== "string")
    fail(
      "option",
      fn,
      "a value must have a shape and a dtype",
      of ?? String(of),
      'Pass { shape: [2, 3], dtype: "float32" }.',
    );
}

/** Whether the value is an array of numbers that is short enough for a shape. Hot, so that it looks at no values. */
function areLengths(shape: readonly number[]): boolean {
  let ok = Array.isArray(shape) && shape.length <= MAX_RANK;
  // By index, because holes count.
  for (let i = 0; ok && i < shape.length; i++) ok = typeof shape[i] === "number";
  return ok;
}

function expectLengths(fn: string, shape: readonly number[]): void {
  if (!areLengths(shape))
    fail("shape", fn, `shape must be an array of at most ${MAX_RANK} numbers`, shape ?? String(shape));
}

/** The number of elements of a shape. */
export function sizeOf(shape: readonly number[]): number {
  expectLengths("sizeOf", shape);
  let size = 1;
  for (const d of shape) size *= d;
  return size;
}

/** Bytes that a value takes. */
export function byteSize(of: Aval): number {
  checkAval("byteSize", of);
  return sizeOf(of.shape) * bytesOf(of.dtype);
}

/** Whether two shapes are equal. */
export function sameShape(a: readonly number[], b: readonly number[]): boolean {
  expectLengths("sameShape", a);
  expectLengths("sameShape", b);
  return a.length === b.length && a.every((d, i) => d === b[i]);
}

/** Whether shape and dtype are equal. */
export function sameAval(a: Aval, b: Aval): boolean {
  checkAval("sameAval", a);
  checkAval("sameAval", b);
  return a.dtype === b.dtype && sameShape(a.shape, b.shape);
}

/** Row-major strides in elements. */
export function stridesOf(shape: readonly number[]): number[] {
  expectLengths("stridesOf", shape);
  const strides = new Array<number>(shape.length);
  let step = 1;
  for (let i = shape.length - 1; i >= 0; i--) {
    strides[i] = step;
    step *= shape[i]!;
  }
  return strides;
}

/** A shape that nobody can change any more: itself where it is one, else a copy. */
export function freezeShape(shape: readonly number[]): readonly number[] {
  expectLengths("freezeShape", shape);
  return Object.isFrozen(shape) ? shape : Object.freeze([...shape]);
}

const MAX_ELEMENTS = 2 ** 48;
/** The most axes of a tensor. */
export const MAX_RANK = 64;

/** Throws unless every dimension is a non-negative integer and the product is addressable. */
export function checkShape(fn: string, shape: readonly number[]): readonly number[] {
  if (!Array.isArray(shape))
    fail("shape", fn, "shape must be an array of non-negative integers", shape ?? String(shape));
  if (shape.length > MAX_RANK)
    fail("shape", fn, `a tensor may have at most ${MAX_RANK} axes`, shape.length, "Join some of them.");
  // By index, because holes count.
  for (let i = 0; i < shape.length; i++) {
    const d = shape[i]!;
    if (!Number.isSafeInteger(d) || d < 0) fail("shape", fn, "every dimension must be a non-negative integer", shape);
  }
  // Without the axes of length 0: offsets along the others are counted all the same.
  if (shape.reduce((size, d) => size * Math.max(d, 1), 1) > MAX_ELEMENTS)
    fail("memory", fn, "a tensor may hold at most 2^48 elements, axes of length 0 left out", shape, "Split it.");
  return shape;
}

/** Throws unless the value counts the axes of a tensor, or of one and its indices. */
function checkRank(fn: string, rank: number): void {
  if (!Number.isSafeInteger(rank) || rank < 0 || rank > 2 * MAX_RANK)
    fail("shape", fn, `the rank must be an integer in [0, ${2 * MAX_RANK}]`, rank ?? String(rank));
}

/** A negative axis counts from the end. */
export function normalizeAxis(fn: string, axis: number, rank: number): number {
  checkRank(fn, rank);
  if (!Number.isInteger(axis) || axis < -rank || axis >= rank) {
    fail(
      "shape",
      fn,
      rank ? `axis must be an integer in [${-rank}, ${rank})` : "axis must be an integer, and there are no axes",
      axis ?? String(axis),
    );
  }
  return axis < 0 ? axis + rank : axis;
}

/** Normalised, sorted, without duplicates; undefined means every axis. */
export function normalizeAxes(fn: string, axes: number | readonly number[] | undefined, rank: number): number[] {
  checkRank(fn, rank);
  if (axes === undefined) return Array.from({ length: rank }, (_, i) => i);
  const list = typeof axes === "number" ? [axes] : axes;
  if (!Array.isArray(list)) fail("shape", fn, "axes must be an integer or an array of integers", axes ?? String(axes));
  if (list.length > rank) fail("shape", fn, `there are ${rank} axes to name`, list, "Name each once.");
  // By index, because holes count.
  const normal = Array.from(list, (a) => normalizeAxis(fn, a, rank)).sort((a, b) => a - b);
  if (new Set(normal).size !== normal.length) fail("shape", fn, "axes must be distinct", list);
  return normal;
}

/** The shape two shapes broadcast to, by NumPy's rule. */
export function broadcastShapes(fn: string, ...shapes: (readonly number[])[]): number[] {
  for (const shape of shapes) expectLengths(fn, shape);
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
