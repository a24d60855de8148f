/** Strided copies between arrays, with axes joined where they are one run of memory. */
import { checkShape } from "../aval.js";
import type { TypedArray } from "../dtype.js";
import { fail } from "../errors.js";
import { expectNumbers, expectTyped } from "../expect.js";

interface Loops {
  readonly shape: number[];
  readonly from: number[];
  readonly to: number[];
}

/** Joins neighbouring axes that are one run of memory on both sides, and drops axes of length 1. */
function mergeAxes(shape: readonly number[], from: readonly number[], to: readonly number[]): Loops {
  const loops: Loops = { shape: [], from: [], to: [] };
  for (let i = 0; i < shape.length; i++) {
    const n = shape[i]!;
    if (n === 1) continue;
    const last = loops.shape.length - 1;
    if (last >= 0 && loops.from[last] === from[i]! * n && loops.to[last] === to[i]! * n) {
      loops.shape[last]! *= n;
      loops.from[last] = from[i]!;
      loops.to[last] = to[i]!;
    } else {
      loops.shape.push(n);
      loops.from.push(from[i]!);
      loops.to.push(to[i]!);
    }
  }
  return loops;
}

/** The same memory as one of four kinds of array, so that the loop below sees few. */
function asCodes(data: TypedArray): Uint8Array | Uint16Array | Uint32Array | Float64Array {
  const { buffer, byteOffset, length, BYTES_PER_ELEMENT } = data;
  if (BYTES_PER_ELEMENT === 8) return data as Float64Array;
  if (BYTES_PER_ELEMENT === 4) return new Uint32Array(buffer as ArrayBuffer, byteOffset, length);
  return data as Uint8Array | Uint16Array;
}

/** Throws unless every index that a walk reaches is one of the array. */
function expectInside(
  name: string,
  array: TypedArray,
  shape: readonly number[],
  strides: readonly number[],
  offset: number,
) {
  let [low, high] = [offset, offset];
  for (let i = 0; i < shape.length; i++) {
    const reach = (shape[i]! - 1) * strides[i]!;
    if (reach < 0) low += reach;
    else high += reach;
  }
  if (!(low >= 0 && high < array.length))
    fail("index", "stridedCopy", `the walk over ${name} must stay in its ${array.length} elements`, [low, high]);
}

/**
 * target[targetOffset + i · targetStrides] = source[sourceOffset + i · sourceStrides] for every index i of `shape`. Source
 * and target hold the same type.
 */
export function stridedCopy(
  shape: readonly number[],
  sourceArray: TypedArray,
  sourceStrides: readonly number[],
  sourceOffset: number,
  targetArray: TypedArray,
  targetStrides: readonly number[],
  targetOffset: number,
): void {
  checkShape("stridedCopy", shape);
  expectNumbers("stridedCopy", { sourceStrides, targetStrides });
  expectTyped("stridedCopy", { source: sourceArray, target: targetArray });
  if (sourceStrides.length !== shape.length || targetStrides.length !== shape.length)
    fail("shape", "stridedCopy", `strides must have ${shape.length} entries, one per axis`, [
      sourceStrides,
      targetStrides,
    ]);
  if (shape.includes(0)) return;
  expectInside("source", sourceArray, shape, sourceStrides, sourceOffset);
  expectInside("target", targetArray, shape, targetStrides, targetOffset);
  const source = asCodes(sourceArray);
  const target = asCodes(targetArray);
  const loops = mergeAxes(shape, sourceStrides, targetStrides);
  const rank = loops.shape.length;
  const inner = rank ? loops.shape[rank - 1]! : 1;
  const fromStep = rank ? loops.from[rank - 1]! : 1;
  const toStep = rank ? loops.to[rank - 1]! : 1;
  const index = new Array<number>(Math.max(rank - 1, 0)).fill(0);
  let from = sourceOffset;
  let to = targetOffset;
  for (;;) {
    if (fromStep === 1 && toStep === 1 && inner > 16) target.set(source.subarray(from, from + inner), to);
    else copyRun(inner, source, from, fromStep, target, to, toStep);
    let axis = rank - 2;
    for (; axis >= 0; axis--) {
      from += loops.from[axis]!;
      to += loops.to[axis]!;
      if (++index[axis]! < loops.shape[axis]!) break;
      from -= loops.from[axis]! * loops.shape[axis]!;
      to -= loops.to[axis]! * loops.shape[axis]!;
      index[axis] = 0;
    }
    if (axis < 0) return;
  }
}

function copyRun(
  length: number,
  source: TypedArray,
  from: number,
  fromStep: number,
  target: TypedArray,
  to: number,
  toStep: number,
): void {
  for (let i = 0, s = from, t = to; i < length; i++, s += fromStep, t += toStep) target[t] = source[s]!;
}
