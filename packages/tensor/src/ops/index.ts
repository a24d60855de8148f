/** Every op of this package: importing it defines them all. */
export * from "./argmax.js";
export * from "./arithmetic.js";
export * from "./arrange.js";
export { applyBinary, type BinaryOp, type BinarySpec, binary, type TensorLike } from "./binary.js";
export * from "./bits.js";
export * from "./cast.js";
export * from "./check.js";
export { checkRange, checkRangeOp, type RangeCheck } from "./check-range.js";
export * from "./compare.js";
export * from "./concat.js";
export * from "./concat.js";
export * from "./cross-entropy.js";
export * from "./cumsum.js";
export * from "./dot.js";
export * from "./dot-axes.js";
export * from "./dynamic-slice.js";
export * from "./fill.js";
export * from "./flip.js";
export * from "./flip.js";
export * from "./index-with.js";
export * from "./log-softmax.js";
export * from "./logsumexp.js";
export * from "./mark.js";
export * from "./predicates.js";
export * from "./promote.js";
export * from "./random-bits.js";
export * from "./reduce.js";
export * from "./reshape.js";
export * from "./select.js";
export * from "./slice.js";
export * from "./softmax.js";
export * from "./sort.js";
export {
  oneHot,
  scatterAdd,
  scatterAddOp,
  take,
  takeAlongAxis,
  takeAlongAxisOp,
  takeOp,
} from "./take.js";
export * from "./unary.js";
