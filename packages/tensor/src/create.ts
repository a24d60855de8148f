/** Functions that make tensors from nothing. Inside jit they become constants of the program. */
import { checkShape } from "./aval.js";
import { checkDType, type DType, isFloat } from "./dtype.js";
import { fail } from "./errors.js";
import { fillOp, iotaOp } from "./ops/fill.js";
import { scalar } from "./ops/promote.js";
import type { Tensor } from "./tensor.js";

interface CreateOptions {
  /** Element type (default float32). */
  readonly dtype?: DType;
}

/** A tensor of `shape` with `value` everywhere. An integer dtype takes integers in its range only. */
export function full(shape: readonly number[], value: number | boolean, { dtype }: CreateOptions = {}): Tensor {
  const type = checkDType("full", dtype ?? (typeof value === "boolean" ? "bool" : "float32"));
  const number = Number(value);
  if (!isFloat(type)) checkInteger(number, type);
  return fillOp({}, { value: number, shape: [...checkShape("full", shape)], dtype: type }).y;
}

function checkInteger(value: number, dtype: DType): void {
  const limits = { int32: [-(2 ** 31), 2 ** 31 - 1], uint32: [0, 2 ** 32 - 1], uint8: [0, 255], bool: [0, 1] };
  const [low, high] = limits[dtype as keyof typeof limits] as [number, number];
  if (!Number.isInteger(value) || value < low || value > high) {
    fail("dtype", "full", `value must be an integer in [${low}, ${high}] for ${dtype}`, value, "Choose a float dtype.");
  }
}

/** Zeros of `shape`. */
export const zeros = (shape: readonly number[], options: CreateOptions = {}): Tensor =>
  full(shape, 0, { dtype: options.dtype ?? "float32" });

/** Ones of `shape`. */
export const ones = (shape: readonly number[], options: CreateOptions = {}): Tensor =>
  full(shape, 1, { dtype: options.dtype ?? "float32" });

/** Zeros with the shape and dtype of x. */
export const zerosLike = (x: Tensor, options: CreateOptions = {}): Tensor =>
  zeros(x.shape, { dtype: options.dtype ?? x.dtype });

/** Ones with the shape and dtype of x. */
export const onesLike = (x: Tensor, options: CreateOptions = {}): Tensor =>
  ones(x.shape, { dtype: options.dtype ?? x.dtype });

/** One value with the shape and dtype of x. */
export const fullLike = (x: Tensor, value: number, options: CreateOptions = {}): Tensor =>
  full(x.shape, value, { dtype: options.dtype ?? x.dtype });

/** The index of every element along `axis`; int32 by default. */
export function iota(shape: readonly number[], axis: number, { dtype = "int32" }: CreateOptions = {}): Tensor {
  return iotaOp({}, { shape: [...shape], dtype, axis: axis < 0 ? axis + shape.length : axis }).y;
}

/**
 * The numbers start, start + step, … below stop (above it when step is negative): arange(stop), arange(start, stop),
 * arange(start, stop, step). int32 when all three are integers, else float32.
 */
export function arange(start: number, stop?: number, step = 1, { dtype }: CreateOptions = {}): Tensor {
  const [low, high] = stop === undefined ? [0, start] : [start, stop];
  if (!Number.isFinite(low) || !Number.isFinite(high) || !Number.isFinite(step) || step === 0) {
    fail("option", "arange", "start, stop and step must be finite and step not 0", [low, high, step]);
  }
  const type = dtype ?? ([low, high, step].every(Number.isInteger) ? "int32" : "float32");
  const length = Math.max(0, Math.ceil((high - low) / step));
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
export function eye(n: number, m = n, { dtype = "float32" }: CreateOptions = {}): Tensor {
  return iota([n, m], 0)
    .eq(iota([n, m], 1))
    .astype(dtype);
}
