/** Comparisons of results with references: within the limits of a row, code by code, or bit by bit. */
import { type Aval, currentBackend, type DType, Tensor, type TypedArray } from "@te/tensor";
import { formatAval, type HostArray, sameShape, toFloat64 } from "@te/tensor/op";
import { record } from "./record.js";
import { errorN, errorX, type Limit, limitOf, type Row } from "./tolerance.js";

/** An array of known shape and dtype with its values decoded. */
export interface Values extends Aval {
  readonly values: ArrayLike<number>;
}

/** Anything that a comparison understands. Numbers count as float32. */
export type Comparable = Tensor | HostArray | Values | readonly number[] | TypedArray;

export function valuesOf(given: Comparable): Values {
  if (given instanceof Tensor) return { ...avalOf(given), values: toFloat64(given.dtype, given.dataSync()) };
  if ("values" in given && typeof given.values !== "function") return given as Values;
  if ("data" in given) return { ...avalOf(given), values: toFloat64(given.dtype, given.data) };
  const values = given as readonly number[];
  return { shape: [values.length], dtype: "float32", values };
}

const avalOf = ({ shape, dtype }: Aval): Aval => ({ shape, dtype });

/**
 * Says what is wrong with a result, or nothing when it is right: shape and dtype first, then NaN and infinities, which
 * must be where the reference has them, then N and X.
 */
export function findDifference(actual: Comparable, reference: Comparable, { n, x }: Limit): string | undefined {
  const t = valuesOf(actual);
  const r = valuesOf(reference);
  return findShapeDifference(t, r) ?? findOddElement(t.values, r.values) ?? findExcess(t, r, { n, x });
}

export function findShapeDifference(t: Aval, r: Aval): string | undefined {
  if (sameShape(t.shape, r.shape) && t.dtype === r.dtype) return undefined;
  return `expected ${formatAval(r)}, got ${formatAval(t)}`;
}

function findOddElement(t: ArrayLike<number>, r: ArrayLike<number>): string | undefined {
  for (let i = 0; i < r.length; i++) {
    if (Number.isFinite(t[i]!) && Number.isFinite(r[i]!)) continue;
    if (!Object.is(t[i], r[i])) return `element ${i} must be ${r[i]}, got ${t[i]}`;
  }
  return undefined;
}

function findExcess({ values: t, dtype }: Values, { values: r }: Values, limit: Limit): string | undefined {
  const n = errorN(t, r);
  const x = errorX(t, r);
  const isWithin = n <= limit.n && x <= limit.x;
  recordError(dtype, n, limit.n, isWithin);
  if (isWithin) return undefined;
  const at = worst(t, r);
  const show = (value: number) => value.toExponential(1);
  return `N = ${show(n)} (limit ${show(limit.n)}), X = ${show(x)} (limit ${show(limit.x)}); element ${at} is ${t[at]} instead of ${r[at]}`;
}

const recordError = (dtype: DType, error: number, tolerance: number, isWithin: boolean): void =>
  record({ backend: currentBackend().name, dtype, error, tolerance }, isWithin);

function worst(t: ArrayLike<number>, r: ArrayLike<number>): number {
  let at = 0;
  for (let i = 0; i < r.length; i++) {
    if (Math.abs(t[i]! - r[i]!) > Math.abs(t[at]! - r[at]!)) at = i;
  }
  return at;
}

/** Says what is wrong with a gradient; also when the comparison could not tell it from zeros. */
export function findGradientDifference(actual: Comparable, reference: Comparable, limit: Limit): string | undefined {
  const found = findDifference(actual, reference, limit);
  if (found) return found;
  const r = valuesOf(reference);
  const zeros = { ...avalOf(r), values: new Float64Array(r.values.length) };
  if (isZero(r) || findDifference(zeros, r, limit)) return undefined;
  return "a gradient of zeros would pass too: the reference is too small for the limit";
}

/** Exactly zero, or without elements: then zeros are the right answer. */
export const isZero = ({ values }: Values): boolean => Array.prototype.every.call(values, (value) => value === 0);

/**
 * Says where codes differ, element by element. NaN equals NaN whatever its code. At most `share` of the elements, but at
 * least one if `share` is above zero, may be one code apart.
 */
export function findCodeDifference(actual: HostArray, expected: HostArray, share = 0): string | undefined {
  const odd = findShapeDifference(actual, expected);
  if (odd) return odd;
  const [t, r] = [valuesOf(actual).values, valuesOf(expected).values];
  let apart = 0;
  for (let i = 0; i < actual.data.length; i++) {
    const [a, e] = [actual.data[i]!, expected.data[i]!];
    if (a === e || (Number.isNaN(t[i]!) && Number.isNaN(r[i]!))) continue;
    if (share > 0 && Math.abs(a - e) === 1) apart++;
    else {
      recordError(actual.dtype, 1, share, false);
      return `element ${i} must be ${r[i]} (code ${e}), got ${t[i]} (code ${a})`;
    }
  }
  const allowed = share > 0 ? Math.max(1, Math.floor(share * actual.data.length)) : 0;
  recordError(actual.dtype, apart / Math.max(actual.data.length, 1), share, apart <= allowed);
  return apart > allowed ? `${apart} elements are one code apart, ${allowed} may be` : undefined;
}

/** Bit for bit: the same shape, dtype and storage. */
export function findBitDifference(actual: Tensor, expected: Tensor): string | undefined {
  const odd = findShapeDifference(actual, expected);
  if (odd) return odd;
  const [a, e] = [bytes(actual), bytes(expected)];
  const at = a.findIndex((byte, i) => byte !== e[i]);
  recordError(actual.dtype, at < 0 ? 0 : 1, 0, at < 0);
  if (at < 0) return undefined;
  const element = Math.floor(at / (a.length / actual.size));
  const [t, r] = [valuesOf(actual).values[element], valuesOf(expected).values[element]];
  return `element ${element} must be the same bits: ${r}, got ${t}`;
}

const bytes = (t: Tensor): Uint8Array => {
  const data = t.dataSync();
  return new Uint8Array(data.buffer as ArrayBuffer, data.byteOffset, data.byteLength);
};

/** True for dtypes whose results must be exact: integers, booleans and float8 codes. */
export const isExact = (dtype: DType): boolean => !["float32", "bfloat16", "float16", "float64"].includes(dtype);

/** Throws unless a result is within the limits of a row for its dtype. */
export function expectClose(actual: Comparable, reference: Comparable, row: Row, what = "result"): void {
  const { dtype } = valuesOf(actual);
  const found = findDifference(actual, { ...valuesOf(reference), dtype }, limitOf(row, dtype));
  if (found) throw new Error(`${what}: ${found}`);
}

/**
 * Throws unless gradients are within the limits of a row, by name. The names must be the same on both sides, and zeros
 * in place of any of them would fail.
 */
export function expectGradients(
  actual: Readonly<Record<string, Comparable>>,
  reference: Readonly<Record<string, Comparable>>,
  row: Row | ((name: string) => Row),
): void {
  const [got, want] = [Object.keys(actual).sort(), Object.keys(reference).sort()];
  if (got.join() !== want.join()) throw new Error(`gradients must be of ${want.join(", ")}, got ${got.join(", ")}`);
  for (const name of want) {
    const { dtype } = valuesOf(actual[name]!);
    const limit = limitOf(typeof row === "function" ? row(name) : row, dtype);
    const found = findGradientDifference(actual[name]!, { ...valuesOf(reference[name]!), dtype }, limit);
    if (found) throw new Error(`gradient of ${name}: ${found}`);
  }
}
