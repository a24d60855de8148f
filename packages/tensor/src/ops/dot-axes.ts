/** The axes of a product: what they must be, the shape that they give, and the product itself on the reference. */
import { type Aval, checkAval, formatAval, normalizeAxes, sameShape, sizeOf, stridesOf } from "../aval.js";
import { isFloat } from "../dtype.js";
import { fail } from "../errors.js";
import { expectArray, expectNumbers, expectObject } from "../expect.js";
import type { HostArray } from "../op.js";
import { loadFloat64 } from "../reference/host.js";
import { batchedProduct } from "../reference/matrix-product.js";
import { stridedCopy } from "../reference/strided.js";

/** Which axes are multiplied and summed (contract) and which run side by side (batch), in matching order. */
export interface DotAxes {
  readonly lhsContract: readonly number[];
  readonly rhsContract: readonly number[];
  readonly lhsBatch: readonly number[];
  readonly rhsBatch: readonly number[];
}

/** The axes that are neither contracted nor batch. */
export function freeAxes(rank: number, contract: readonly number[], batch: readonly number[]): number[] {
  expectArray("freeAxes", "axes", { contract, batch });
  return normalizeAxes("freeAxes", undefined, rank).filter((i) => !contract.includes(i) && !batch.includes(i));
}

const lengths = (a: Aval, axes: readonly number[]): number[] => axes.map((axis) => a.shape[axis]!);

function checkSide(fn: string, name: string, a: Aval, contract: readonly number[], batch: readonly number[]): void {
  const all = [...contract, ...batch];
  const bad = all.find((axis) => !Number.isInteger(axis) || axis < 0 || axis >= a.shape.length);
  if (bad !== undefined || new Set(all).size !== all.length) {
    fail(
      "shape",
      fn,
      `contract and batch axes of ${name} must be distinct and in [0, ${a.shape.length})`,
      `[${contract}] and [${batch}]`,
    );
  }
}

/** Checks a product's axes and returns the output's shape: batch, free axes of a, free axes of b. */
export function dotShape(fn: string, a: Aval, b: Aval, axes: DotAxes): number[] {
  expectObject(fn, { a, b, axes });
  checkAval(fn, a);
  checkAval(fn, b);
  const { lhsContract, rhsContract, lhsBatch, rhsBatch } = axes;
  expectNumbers(fn, { lhsContract, rhsContract, lhsBatch, rhsBatch });
  checkSide(fn, "a", a, lhsContract, lhsBatch);
  checkSide(fn, "b", b, rhsContract, rhsBatch);
  for (const [kind, left, right] of [
    ["contract", lhsContract, rhsContract],
    ["batch", lhsBatch, rhsBatch],
  ] as const) {
    if (!sameShape(lengths(a, left), lengths(b, right))) {
      const wanted = `${kind} axes must have equal lengths: [${lengths(a, left)}] of a, ${formatAval(a)}, against [${lengths(b, right)}] of b`;
      fail("shape", fn, wanted, b, "Transpose or reshape one operand.");
    }
  }
  return [
    ...lengths(a, lhsBatch),
    ...lengths(a, freeAxes(a.shape.length, lhsContract, lhsBatch)),
    ...lengths(b, freeAxes(b.shape.length, rhsContract, rhsBatch)),
  ];
}

/** The values of x with its axes in another order. */
function inOrder(x: HostArray, order: readonly number[]): Float64Array {
  const values = loadFloat64(x);
  if (order.every((axis, i) => axis === i)) return values;
  const strides = stridesOf(x.shape);
  const shape = lengths(x, order);
  const out = new Float64Array(values.length);
  stridedCopy(
    shape,
    values,
    order.map((axis) => strides[axis]!),
    0,
    out,
    stridesOf(shape),
    0,
  );
  return out;
}

/** The unrounded product of two host arrays, row-major over dotShape. */
export function dotValues(a: HostArray, b: HostArray, axes: DotAxes): Float64Array {
  expectObject("dotValues", { axes });
  const { lhsContract, rhsContract, lhsBatch, rhsBatch } = axes;
  dotShape("dotValues", a, b, { lhsContract, rhsContract, lhsBatch, rhsBatch });
  const lhsFree = freeAxes(a.shape.length, lhsContract, lhsBatch);
  const rhsFree = freeAxes(b.shape.length, rhsContract, rhsBatch);
  const sizes = [
    sizeOf(lengths(a, lhsBatch)),
    sizeOf(lengths(a, lhsFree)),
    sizeOf(lengths(a, lhsContract)),
    sizeOf(lengths(b, rhsFree)),
  ] as const;
  const left = inOrder(a, [...lhsBatch, ...lhsFree, ...lhsContract]);
  const right = inOrder(b, [...rhsBatch, ...rhsContract, ...rhsFree]);
  return batchedProduct(sizes, left, right, !isFloat(a.dtype));
}
