/** Elementwise comparisons; they give bool. NaN is equal, above and below nothing. */
import type { Tensor } from "../tensor.js";
import { applyBinary, type BinaryLoop, binary, type TensorLike } from "./binary.js";

const comparison = (name: string, loop: BinaryLoop) =>
  binary(name, { operands: "any", result: "bool", loop: () => loop });

export const eqOp = comparison("eq", (a, b, y) => {
  for (let i = 0; i < y.length; i++) y[i] = a[i]! === b[i]! ? 1 : 0;
});
export const neOp = comparison("ne", (a, b, y) => {
  for (let i = 0; i < y.length; i++) y[i] = a[i]! !== b[i]! ? 1 : 0;
});
export const ltOp = comparison("lt", (a, b, y) => {
  for (let i = 0; i < y.length; i++) y[i] = a[i]! < b[i]! ? 1 : 0;
});
export const leOp = comparison("le", (a, b, y) => {
  for (let i = 0; i < y.length; i++) y[i] = a[i]! <= b[i]! ? 1 : 0;
});
export const gtOp = comparison("gt", (a, b, y) => {
  for (let i = 0; i < y.length; i++) y[i] = a[i]! > b[i]! ? 1 : 0;
});
export const geOp = comparison("ge", (a, b, y) => {
  for (let i = 0; i < y.length; i++) y[i] = a[i]! >= b[i]! ? 1 : 0;
});

/** a = b. */
export const eq = (a: TensorLike, b: TensorLike): Tensor => applyBinary(eqOp, a, b);
/** a ≠ b; true where either is NaN. */
export const ne = (a: TensorLike, b: TensorLike): Tensor => applyBinary(neOp, a, b);
/** a < b. */
export const lt = (a: TensorLike, b: TensorLike): Tensor => applyBinary(ltOp, a, b);
/** a ≤ b. */
export const le = (a: TensorLike, b: TensorLike): Tensor => applyBinary(leOp, a, b);
/** a > b. */
export const gt = (a: TensorLike, b: TensorLike): Tensor => applyBinary(gtOp, a, b);
/** a ≥ b. */
export const ge = (a: TensorLike, b: TensorLike): Tensor => applyBinary(geOp, a, b);
