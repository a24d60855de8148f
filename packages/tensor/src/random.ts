/**
 * Random numbers with JAX's own bits: threefry-2x32 in the partitionable layout. A key is a uint32[2] tensor; the same
 * key always gives the same numbers, on every device and mesh, so split or fold in before each use.
 */
import { checkShape, normalizeAxis, sizeOf } from "./aval.js";
import { arange, zeros } from "./create.js";
import { type DType, finfo, isDType, isFloat } from "./dtype.js";
import { fail } from "./errors.js";
import { expectNumber, expectSize } from "./expect.js";
import { fromFloat64, toFloat64 } from "./float-codes.js";
import { shiftRight } from "./ops/bits.js";
import { cast } from "./ops/cast.js";
import { expectTensor } from "./ops/check.js";
import { concat } from "./ops/concat.js";
import { scalar } from "./ops/promote.js";
import { randomBitsOp, randomFoldInOp, randomSplitOp } from "./ops/random-bits.js";
import { sortOp } from "./ops/sort.js";
import { take } from "./ops/take.js";
import { erfInv } from "./ops/unary.js";
import { withDefaults } from "./options.js";
import { erf } from "./reference/special-functions.js";
import { Tensor, tensor } from "./tensor.js";

/** A random key: uint32[2]. */
export type Key = Tensor;

interface FloatOptions {
  /** float32 (default), bfloat16 or float16. */
  readonly dtype?: DType;
}

/** The key of a seed: its high and low 32 bits. */
export function key(seed: number | Tensor): Key {
  if (seed instanceof Tensor) {
    if (seed.rank !== 0 || isFloat(seed.dtype)) fail("dtype", "random.key", "seed must be an integer", seed);
    return concat([zeros([1], { dtype: "uint32" }), cast(seed, "uint32").reshape([1])]);
  }
  if (!Number.isSafeInteger(seed) || seed < -(2 ** 31)) {
    fail("option", "random.key", "seed must be an integer in [-2^31, 2^53)", seed);
  }
  const high = seed < 0 ? 0 : Math.floor(seed / 2 ** 32);
  return tensor(Uint32Array.of(high, seed >>> 0));
}

function checkKey(fn: string, given: Key): void {
  if (!(given instanceof Tensor) || given.dtype !== "uint32" || given.rank !== 1 || given.shape[0] !== 2)
    fail("dtype", fn, "the key must be uint32[2]", given ?? String(given), "Make one with random.key(seed).");
}

/** Each key of split is a tensor of its own. */
const MOST_KEYS = 2 ** 16;

/** `count` new keys, independent of each other and of the given one, which must not be used again. */
export function split(from: Key, count = 2): Key[] {
  expectSize("random.split", { count });
  if (count > MOST_KEYS)
    fail("option", "random.split", `there may be at most ${MOST_KEYS} keys`, count, "Take random.splitTensor.");
  const keys = splitTensor(from, count);
  return Array.from({ length: count }, (_, i) => keys.at(i));
}

/** The same as one uint32[count, 2] tensor. */
export function splitTensor(from: Key, count = 2): Tensor {
  checkKey("random.split", from);
  return randomSplitOp({ key: from }, { count }).y;
}

/** The key for a number, such as a step or a layer: another one for each. */
export function foldIn(from: Key, data: number | Tensor): Key {
  checkKey("random.foldIn", from);
  const word = data instanceof Tensor ? cast(data, "uint32") : scalar("random.foldIn", data, "uint32");
  return randomFoldInOp({ key: from, data: word }).y;
}

/** Random bits: uint32 in all 32 or the 16 low bits, uint8 for a width of 8. */
export function bits(from: Key, shape: readonly number[], options: { readonly width?: 32 | 16 | 8 } = {}): Tensor {
  const { width } = withDefaults("random.bits", options, { width: 32 });
  checkKey("random.bits", from);
  return randomBitsOp({ key: from }, { shape: [...checkShape("random.bits", shape)], width }).y;
}

/** A number rounded to a float dtype. */
const roundTo = (dtype: DType, x: number): number => toFloat64(dtype, fromFloat64(dtype, [x]))[0]!;

/** The next value of the dtype after x (a value of it) in the direction of `to`. */
function nextAfter(dtype: DType, x: number, to: number): number {
  const { eps, tiny } = finfo(dtype);
  const up = to > x;
  const exponent = Math.max(Math.floor(Math.log2(Math.abs(x))), Math.log2(tiny));
  const gap = 2 ** exponent * eps;
  // Toward zero from a power of two the gap is half as wide.
  const shrinks = up !== x > 0 && Math.abs(x) === 2 ** exponent && Math.abs(x) > tiny;
  return x + (up ? 1 : -1) * (shrinks ? gap / 2 : gap);
}

/** Bits drawn per number and bits kept: as many as the significand holds after its leading one. */
const UNIFORM: Partial<Record<DType, { readonly width: 32 | 16 | 8; readonly kept: number }>> = {
  float32: { width: 32, kept: 23 },
  float16: { width: 16, kept: 10 },
  bfloat16: { width: 8, kept: 7 },
};

function uniformFormat(fn: string, dtype: DType) {
  return (
    (isDType(dtype) ? UNIFORM[dtype] : undefined) ??
    fail("dtype", fn, "dtype must be float32, bfloat16 or float16", dtype ?? String(dtype), "Draw float32 and cast.")
  );
}

/** The dtype of a draw, whose key and shape are right. */
function dtypeOfDraw(fn: string, from: Key, shape: readonly number[], options: FloatOptions): DType {
  checkKey(fn, from);
  checkShape(fn, shape);
  const { dtype } = withDefaults(fn, options, { dtype: "float32" });
  uniformFormat(fn, dtype);
  return dtype;
}

/** Uniform on [low, high), in 16-bit dtypes from JAX's 7 (bfloat16) or 10 random bits: m · 2^-kept for `kept` random bits m, scaled and shifted in the dtype. */
export function uniform(
  from: Key,
  shape: readonly number[] = [],
  options: FloatOptions & { readonly low?: number; readonly high?: number } = {},
): Tensor {
  const { dtype, low, high } = withDefaults("random.uniform", options, { dtype: "float32", low: 0, high: 1 });
  dtypeOfDraw("random.uniform", from, shape, { dtype });
  const { width, kept } = uniformFormat("random.uniform", dtype);
  const mantissa = shiftRight(bits(from, shape, { width }), width - kept);
  const unit = cast(mantissa, dtype).mul(2 ** -kept);
  const bottom = roundTo(dtype, low);
  const span = roundTo(dtype, roundTo(dtype, high) - bottom);
  const isPowerOfTwo = Math.log2(span) % 1 === 0;
  if (dtype !== "float32" || isPowerOfTwo || bottom === 0) return unit.mul(span).add(bottom).maximum(bottom);
  return roundedOnce(mantissa, unit, span, bottom).maximum(bottom);
}

/**
 * unit · span + bottom in float32 with one rounding, as the fused multiply-add that XLA uses gives it. unit = m · 2^-23.
 * Dekker's product gives unit · span = p + e exactly, Knuth's sum p + bottom = s + t; the result is s + (t + e).
 */
function roundedOnce(mantissa: Tensor, unit: Tensor, span: number, bottom: number): Tensor {
  const unitHigh = cast(shiftRight(mantissa, 12), "float32").mul(2 ** -11);
  const unitLow = unit.sub(unitHigh);
  const grid = 2 ** (Math.floor(Math.log2(span)) - 11);
  const spanHigh = Math.floor(span / grid) * grid;
  const spanLow = span - spanHigh;
  const p = unit.mul(span);
  const e = unitHigh
    .mul(spanHigh)
    .sub(p)
    .add(unitHigh.mul(spanLow))
    .add(unitLow.mul(spanHigh))
    .add(unitLow.mul(spanLow));
  const s = p.add(bottom);
  const ofBottom = s.sub(p);
  const t = p.sub(s.sub(ofBottom)).add(ofBottom.neg().add(bottom));
  return s.add(t.add(e));
}

/** Standard normal: √2 · erf_inv(u) with u uniform on (-1, 1). */
export function normal(from: Key, shape: readonly number[] = [], options: FloatOptions = {}): Tensor {
  const dtype = dtypeOfDraw("random.normal", from, shape, options);
  const u = uniform(from, shape, { dtype, low: nextAfter(dtype, -1, 0), high: 1 });
  return erfInv(u).mul(Math.SQRT2);
}

/** Standard normal, cut to the open interval (low, high). */
export function truncatedNormal(
  from: Key,
  low: number,
  high: number,
  shape: readonly number[] = [],
  options: FloatOptions = {},
): Tensor {
  const dtype = dtypeOfDraw("random.truncatedNormal", from, shape, options);
  expectNumber("random.truncatedNormal", { low, high });
  if (!(low < high)) fail("option", "random.truncatedNormal", "low must be less than high", [low, high]);
  const [bottom, top] = [roundTo(dtype, low), roundTo(dtype, high)];
  const quantile = (x: number) => roundTo(dtype, erf(roundTo(dtype, x / roundTo(dtype, Math.SQRT2))));
  const u = uniform(from, shape, { dtype, low: quantile(bottom), high: quantile(top) });
  const inside = {
    low: nextAfter(dtype, bottom, Number.POSITIVE_INFINITY),
    high: nextAfter(dtype, top, Number.NEGATIVE_INFINITY),
  };
  return erfInv(u).mul(Math.SQRT2).clip(inside.low, inside.high);
}

/** true with probability p (½ by default), which may be a tensor that broadcasts to `shape`. Compares in float32. */
export function bernoulli(
  from: Key,
  p: number | Tensor = 0.5,
  shape: readonly number[] = p instanceof Tensor ? p.shape : [],
): Tensor {
  if (typeof p !== "number" && !(p instanceof Tensor))
    fail("dtype", "random.bernoulli", "p must be a number or a tensor", p ?? String(p));
  return uniform(from, shape).lt(p);
}

/** Integers on [low, high), int32. */
export function randint(from: Key, shape: readonly number[], low: number, high: number): Tensor {
  const inRange = (n: number) => Number.isInteger(n) && n >= -(2 ** 31) && n <= 2 ** 31;
  if (!inRange(low) || !inRange(high) || low >= high || high - low >= 2 ** 32) {
    fail("option", "random.randint", "low and high must be int32 with low < high", [low, high]);
  }
  const span = high - low;
  const half = 2 ** 16 % span;
  // (2^16 mod span)² modulo 2^32, as 32-bit arithmetic gives it, then modulo span.
  const multiplier = (Math.imul(half, half) >>> 0) % span;
  const [first, second] = split(from);
  const upper = bits(first!, shape).rem(span).mul(multiplier);
  const lower = bits(second!, shape).rem(span);
  const offset = upper.add(lower).rem(span);
  return cast(offset, "int32").add(low);
}

/** A random order of [0, n), or of the first axis of a tensor. */
export function permutation(from: Key, of: number | Tensor): Tensor {
  const n = of instanceof Tensor ? of.shape[0] : of;
  if (n === undefined || !Number.isInteger(n) || n < 0) {
    fail("option", "random.permutation", "give a non-negative integer or a tensor with an axis", of);
  }
  // Sorting by 32 random bits collides; enough rounds make a collision in all of them unlikely.
  const rounds = Math.ceil((3 * Math.log(Math.max(1, n))) / Math.log(2 ** 32 - 1));
  let order = arange(n);
  let carry = from;
  for (let i = 0; i < rounds; i++) {
    const [next, use] = split(carry) as [Key, Key];
    carry = next;
    order = take(order, sortOp({ x: bits(use, [n]) }, { axis: 0 }).indices);
  }
  return of instanceof Tensor ? take(of, order) : order;
}

/** `shape` elements of [0, n), or of the first axis of a tensor, with or without replacement. */
export function choice(
  from: Key,
  of: number | Tensor,
  shape: readonly number[] = [],
  options: { readonly replace?: boolean } = {},
): Tensor {
  const { replace } = withDefaults("random.choice", options, { replace: true });
  const n = of instanceof Tensor ? (of.shape[0] ?? 0) : of;
  const count = sizeOf(shape);
  expectSize("random.choice", { "the number of elements": n });
  if (n < 1 || (!replace && count > n)) {
    fail("option", "random.choice", `there must be at least ${replace ? 1 : count} elements to choose from`, n);
  }
  const chosen = replace ? randint(from, shape, 0, n) : permutation(from, n).slice([0], [count]).reshape(shape);
  return of instanceof Tensor ? take(of, chosen) : chosen;
}

/**
 * Standard Gumbel: -log(-log(u)). 16-bit dtypes draw float32 and round once: these are not JAX's numbers, whose 7 or 10 random
 * bits end at 4.9 or 6.9 and give many equal values.
 */
export function gumbel(from: Key, shape: readonly number[] = [], options: FloatOptions = {}): Tensor {
  const dtype = dtypeOfDraw("random.gumbel", from, shape, options);
  const u = uniform(from, shape, { low: finfo("float32").tiny, high: 1 });
  return cast(u.log().neg().log().neg(), dtype);
}

/** Exponential with rate 1: -log(1 - u). 16-bit dtypes draw float32 and round once, as in {@link gumbel}. */
export function exponential(from: Key, shape: readonly number[] = [], options: FloatOptions = {}): Tensor {
  const dtype = dtypeOfDraw("random.exponential", from, shape, options);
  return cast(uniform(from, shape).neg().log1p().neg(), dtype);
}

/**
 * Indices (int32) drawn with probabilities softmax(logits) along an axis (the last by default). `shape` defaults to the
 * other axes of logits and must end with them.
 *
 * Noise and sums are float32 whatever the dtype of logits, so that shares are right: 16-bit noise ties, and the first of
 * equals wins. float32 logits give JAX's draws; 16-bit logits give those of the same logits in float32, where JAX adds
 * 16-bit noise.
 */
export function categorical(
  from: Key,
  logits: Tensor,
  options: { readonly axis?: number; readonly shape?: readonly number[] } = {},
): Tensor {
  const fn = "random.categorical";
  const { axis, shape } = withDefaults(fn, options, { axis: -1, shape: undefined });
  checkKey(fn, from);
  expectTensor(fn, { logits });
  const classes = normalizeAxis(fn, axis, logits.rank);
  if (logits.shape[classes] === 0) fail("shape", fn, "logits must have at least one class", logits);
  const batch = logits.shape.filter((_, i) => i !== classes);
  const target = shape === undefined ? batch : checkShape(fn, shape);
  const lead = target.length - batch.length;
  if (lead < 0 || batch.some((d, i) => d !== target[lead + i])) {
    const rule = `shape must end with the batch axes of logits, [${batch.join(",")}]`;
    fail("shape", fn, rule, `[${target.join(",")}]`);
  }
  const drawn = [...target];
  drawn.splice(lead + classes, 0, logits.shape[classes]!);
  return gumbel(from, drawn)
    .add(cast(logits, "float32"))
    .argmax(lead + classes);
}
