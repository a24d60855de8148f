/** Elementwise operations on the bits of integers, which are the logical ones on bool. */
import type { DType } from "../dtype.js";
import type { Tensor } from "../tensor.js";
import { applyBinary, binary, type TensorLike } from "./binary.js";
import { expectTensor } from "./check.js";

export const andOp = binary("and", {
  operands: "bits",
  loop: () => (a, b, y) => {
    for (let i = 0; i < y.length; i++) y[i] = a[i]! & b[i]!;
  },
});
export const orOp = binary("or", {
  operands: "bits",
  loop: () => (a, b, y) => {
    for (let i = 0; i < y.length; i++) y[i] = a[i]! | b[i]!;
  },
});
export const xorOp = binary("xor", {
  operands: "bits",
  loop: () => (a, b, y) => {
    for (let i = 0; i < y.length; i++) y[i] = a[i]! ^ b[i]!;
  },
});

const widthOf = (dtype: DType): number => (dtype === "uint8" ? 8 : dtype === "bool" ? 1 : 32);

/** The count, or 32 where it moves every bit out: a negative count is a large one. */
const held = (count: number, width: number): number => (count < 0 || count >= width ? 32 : count);
const left = (x: number, count: number): number => (count === 32 ? 0 : x << count);
const logicalRight = (x: number, count: number): number => (count === 32 ? 0 : x >>> count);
const arithmeticRight = (x: number, count: number): number => x >> Math.min(count, 31);

export const shiftLeftOp = binary("shift_left", {
  operands: "bits",
  loop: (dtype) => (a, b, y) => {
    const width = widthOf(dtype);
    for (let i = 0; i < y.length; i++) y[i] = left(a[i]!, held(b[i]!, width));
  },
});

/** Arithmetic for int32, logical for the others. */
export const shiftRightOp = binary("shift_right", {
  operands: "bits",
  loop: (dtype) => (a, b, y) => {
    const width = widthOf(dtype);
    if (dtype === "int32") for (let i = 0; i < y.length; i++) y[i] = arithmeticRight(a[i]!, held(b[i]!, width));
    else for (let i = 0; i < y.length; i++) y[i] = logicalRight(a[i]!, held(b[i]!, width));
  },
});

/** Bitwise and of integers, logical and of bool. */
export const and = (a: TensorLike, b: TensorLike): Tensor => applyBinary(andOp, a, b);
/** Bitwise or of integers, logical or of bool. */
export const or = (a: TensorLike, b: TensorLike): Tensor => applyBinary(orOp, a, b);
/** Bitwise exclusive or. */
export const xor = (a: TensorLike, b: TensorLike): Tensor => applyBinary(xorOp, a, b);
/** Shifts the bits of a to the left by b places; 0 when b reaches the width. */
export const shiftLeft = (a: TensorLike, b: TensorLike): Tensor => applyBinary(shiftLeftOp, a, b, "shiftLeft");
/** Shifts the bits of a to the right by b places: int32 keeps the sign, unsigned types fill with 0. */
export const shiftRight = (a: TensorLike, b: TensorLike): Tensor => applyBinary(shiftRightOp, a, b, "shiftRight");

/** The operands as bool. */
function truths(fn: string, a: Tensor, b: Tensor): [Tensor, Tensor] {
  expectTensor(fn, { a, b });
  return [toBool(a), toBool(b)];
}

const toBool = (x: Tensor): Tensor => (x.dtype === "bool" ? x : x.ne(0));

/** Both true; numbers count as true when they are not 0. */
export const logicalAnd = (a: Tensor, b: Tensor): Tensor => and(...truths("logicalAnd", a, b));
/** Either true. */
export const logicalOr = (a: Tensor, b: Tensor): Tensor => or(...truths("logicalOr", a, b));
/** Exactly one true. */
export const logicalXor = (a: Tensor, b: Tensor): Tensor => xor(...truths("logicalXor", a, b));
