/** Elementwise arithmetic of two tensors. */
import { isFloat } from "../dtype.js";
import { integerPower, power } from "../reference/special-functions.js";
import type { Tensor } from "../tensor.js";
import { applyBinary, type BinaryLoop, binary, type TensorLike } from "./binary.js";
import { select } from "./select.js";

export const addOp = binary("add", {
  operands: "numbers",
  loop: () => (a, b, y) => {
    for (let i = 0; i < y.length; i++) y[i] = a[i]! + b[i]!;
  },
  linear: true,
  gradients: [(dy) => dy, (dy) => dy],
});

export const subOp = binary("sub", {
  operands: "numbers",
  loop: () => (a, b, y) => {
    for (let i = 0; i < y.length; i++) y[i] = a[i]! - b[i]!;
  },
  linear: true,
  gradients: [(dy) => dy, (dy) => dy.neg()],
});

const mulFloats: BinaryLoop = (a, b, y) => {
  for (let i = 0; i < y.length; i++) y[i] = a[i]! * b[i]!;
};
const mulIntegers: BinaryLoop = (a, b, y) => {
  for (let i = 0; i < y.length; i++) y[i] = Math.imul(a[i]!, b[i]!);
};
export const mulOp = binary("mul", {
  operands: "numbers",
  loop: (dtype) => (isFloat(dtype) ? mulFloats : mulIntegers),
  gradients: [(dy, _, b) => dy.mul(b), (dy, a) => dy.mul(a)],
});

const divFloats: BinaryLoop = (a, b, y) => {
  for (let i = 0; i < y.length; i++) y[i] = a[i]! / b[i]!;
};
// Division by zero sets every bit, as in XLA.
const divIntegers: BinaryLoop = (a, b, y) => {
  for (let i = 0; i < y.length; i++) y[i] = b[i] === 0 ? -1 : Math.trunc(a[i]! / b[i]!);
};
export const divOp = binary("div", {
  operands: "numbers",
  loop: (dtype) => (isFloat(dtype) ? divFloats : divIntegers),
  gradients: [(dy, _, b) => dy.div(b), (dy, _, b, y) => dy.mul(y).div(b).neg()],
});

const remFloats: BinaryLoop = (a, b, y) => {
  for (let i = 0; i < y.length; i++) y[i] = a[i]! % b[i]!;
};
const remIntegers: BinaryLoop = (a, b, y) => {
  for (let i = 0; i < y.length; i++) y[i] = b[i] === 0 ? a[i]! : a[i]! % b[i]!;
};
export const remOp = binary("rem", {
  operands: "numbers",
  loop: (dtype) => (isFloat(dtype) ? remFloats : remIntegers),
  gradients: [(dy) => dy, (dy, a, b) => dy.mul(truncate(a.div(b))).neg()],
  domain: [
    [0.1, 0.4],
    [0.5, 3],
  ],
});

const truncate = (x: Tensor): Tensor => x.sign().mul(x.abs().floor());

const powFloats: BinaryLoop = (a, b, y) => {
  for (let i = 0; i < y.length; i++) y[i] = power(a[i]!, b[i]!);
};
const powIntegers: BinaryLoop = (a, b, y) => {
  for (let i = 0; i < y.length; i++) y[i] = integerPower(a[i]!, b[i]!);
};
export const powOp = binary("pow", {
  operands: "numbers",
  loop: (dtype) => (isFloat(dtype) ? powFloats : powIntegers),
  // At b = 0 the first factor is 0 and at a = 0 the logarithm is taken as 0, so that neither makes 0 · ∞.
  gradients: [
    (dy, a, b) => dy.mul(select(b.eq(0), 0, b.mul(pow(a, select(b.eq(0), 1, b.sub(1)))))),
    (dy, a, _, y) => dy.mul(select(a.eq(0), 1, a).log().mul(y)),
  ],
  domain: [
    [0.5, 2],
    [-2, 2],
  ],
});

export const maximumOp = binary("maximum", {
  operands: "any",
  loop: () => (a, b, y) => {
    for (let i = 0; i < y.length; i++) y[i] = Math.max(a[i]!, b[i]!) + 0; // 0, not -0
  },
  gradients: [(dy, a, b) => shareTies(dy, a, b, a.gt(b)), (dy, a, b) => shareTies(dy, a, b, b.gt(a))],
});

export const minimumOp = binary("minimum", {
  operands: "any",
  loop: () => (a, b, y) => {
    for (let i = 0; i < y.length; i++) y[i] = Math.min(a[i]!, b[i]!) + 0;
  },
  gradients: [(dy, a, b) => shareTies(dy, a, b, a.lt(b)), (dy, a, b) => shareTies(dy, a, b, b.lt(a))],
});

/** The cotangent where the operand wins, half of it where both are equal. */
const shareTies = (dy: Tensor, a: Tensor, b: Tensor, wins: Tensor): Tensor =>
  select(a.eq(b), dy.mul(0.5), select(wins, dy, 0));

/** a + b. */
export const add = (a: TensorLike, b: TensorLike): Tensor => applyBinary(addOp, a, b);
/** a - b. */
export const sub = (a: TensorLike, b: TensorLike): Tensor => applyBinary(subOp, a, b);
/** a · b, elementwise. */
export const mul = (a: TensorLike, b: TensorLike): Tensor => applyBinary(mulOp, a, b);
/** a / b. Integers truncate toward zero; x / 0 has all bits set. */
export const div = (a: TensorLike, b: TensorLike): Tensor => applyBinary(divOp, a, b);
/** The remainder of truncated division, with the sign of a. Integers: x rem 0 = x. */
export const rem = (a: TensorLike, b: TensorLike): Tensor => applyBinary(remOp, a, b);
/** The larger operand; NaN if either is NaN, and 0 for 0 and -0. Ties share the gradient. */
export const maximum = (a: TensorLike, b: TensorLike): Tensor => applyBinary(maximumOp, a, b);
/** The smaller operand; NaN if either is NaN, and 0 for 0 and -0. Ties share the gradient. */
export const minimum = (a: TensorLike, b: TensorLike): Tensor => applyBinary(minimumOp, a, b);

/** a to the power b. Integers: modulo 2^32, and a negative exponent truncates toward zero. */
export function pow(a: TensorLike, b: TensorLike): Tensor {
  if (typeof b === "number" && typeof a !== "number") {
    if (b === 1) return a;
    if (b === 2) return a.mul(a);
    if (b === 3) return a.mul(a).mul(a);
    if (b === 0.5 && isFloat(a.dtype)) return a.sqrt();
  }
  return applyBinary(powOp, a, b);
}
