/** Functions that make tensors from nothing. Inside jit they become constants of the program. */
import { checkShape, normalizeAxis } from "./aval.js";
import { checkDType, type DType, isFloat } from "./dtype.js";
import { fail } from "./errors.js";
import { checkHolds } from "./integers.js";
import { expectTensor } from "./ops/check.js";
import { fillOp, iotaOp } from "./ops/fill.js";
import { scalar } from "./ops/promote.js";
import { withDefaults } from "./options.js";
import type { Tensor } from "./tensor.js";

interface CreateOptions {
  /** Element type (default float32). */
  readonly dtype?: DType;
}

const dtypeOf = (fn: string, options: CreateOptions, otherwise: DType): DType =>
  checkDType(fn, withDefaults(fn, options, { dtype: undefined }).dtype ?? otherwise);

const fill = (fn: string, shape: readonly number[], value: number, dtype: DType): Tensor =>
  fillOp({}, { value, shape: [...checkShape(fn, shape)], dtype }).y;

/** A tensor of `shape` with `value` everywhere. An integer dtype takes integers in its range only. */
export function full(shape: readonly number[], value: number | boolean, options: CreateOptions = {}): Tensor {
  if (typeof value !== "number" && typeof value !== "boolean")
    fail("dtype", "full", "value must be a number or boolean", value ?? String(value), "Write full(shape, value).");
  const dtype = dtypeOf("full", options, typeof value === "boolean" ? "bool" : "float32");
  checkHolds("full", "value", Number(value), dtype, "Choose a float dtype.");
  return fill("full", shape, Number(value), dtype);
}

/** Zeros of `shape`. */
export const zeros = (shape: readonly number[], options: CreateOptions = {}): Tensor =>
  fill("zeros", shape, 0, dtypeOf("zeros", options, "float32"));

/** Ones of `shape`. */
export const ones = (shape: readonly number[], options: CreateOptions = {}): Tensor =>
  fill("ones", shape, 1, dtypeOf("ones", options, "float32"));

/** Zeros with the shape and dtype of x. */
export function zerosLike(x: Tensor, options: CreateOptions = {}): Tensor {
  expectTensor("zerosLike", { x });
  return fill("zerosLike", x.shape, 0, dtypeOf("zerosLike", options, x.dtype));
}

/** Ones with the shape and dtype of x. */
export function onesLike(x: Tensor, options: CreateOptions = {}): Tensor {
  expectTensor("onesLike", { x });
  return fill("onesLike", x.shape, 1, dtypeOf("onesLike", options, x.dtype));
}

/** One value with the shape and dtype of x. */
export function fullLike(x: Tensor, value: number, options: CreateOptions = {}): Tensor {
  expectTensor("fullLike", { x });
  return full(x.shape, value, { dtype: dtypeOf("fullLike", options, x.dtype) });
}

/** The index of every element along `axis`; int32 by default. */
export function iota(shape: readonly number[], axis: number, options: CreateOptions = {}): Tensor {
  const dtype = dtypeOf("iota", options, "int32");
  checkShape("iota", shape);
  const along = normalizeAxis("iota", axis, shape.length);
  const last = (shape[along] ?? 0) - 1;
  if (last > 0) checkHolds("iota", "the last index", last, dtype, "Choose a wider dtype.");
  return iotaOp({}, { shape: [...shape], dtype, axis: along }).y;
}

/**
 * The numbers start, start + step, … below stop (above it when step is negative): arange(stop), arange(start, stop),
 * arange(start, stop, step). int32 when all three are integers, else float32.
 */
export function arange(start: number, stop?: number, step = 1, options: CreateOptions = {}): Tensor {
  const [low, high] = stop === undefined ? [0, start] : [start, stop];
  if (!Number.isFinite(low) || !Number.isFinite(high) || !Number.isFinite(step) || step === 0) {
    fail("option", "arange", "start, stop and step must be finite numbers and step not 0", [low, high, step]);
  }
  const type = dtypeOf("arange", options, [low, high, step].every(Number.isInteger) ? "int32" : "float32");
  const length = Math.max(0, Math.ceil((high - low) / step));
  if (!(length <= 2 ** 31))
    fail(
      "option",
      "arange",
      "there may be at most 2^31 numbers, which int32 counts",
      [low, high, step],
      "Take a larger step.",
    );
  for (const end of length ? [low, low + (length - 1) * step] : [])
    checkHolds("arange", "every number", end, type, "Choose a wider dtype.");
  if (low === 0 && step === 1) return iota([length], 0, { dtype: type });
  // Counts in float32 and rounds once, so that narrow floats do not gather errors.
  const counting: DType = isFloat(type) ? "float32" : type;
  const signed = counting === "uint32" || counting === "uint8" ? "int32" : counting;
  return iota([length], 0, { dtype: signed })
    .mul(scalar("arange", step, signed))
    .add(scalar("arange", low, signed))
    .astype(type);
}

/** Ones on the diagonal of an [n, m] matrix (m defaults to n), zeros elsewhere. */
export function eye(n: number, m = n, options: CreateOptions = {}): Tensor {
  const dtype = dtypeOf("eye", options, "float32");
  return iota([n, m], 0)
    .eq(iota([n, m], 1))
    .astype(dtype);
}
