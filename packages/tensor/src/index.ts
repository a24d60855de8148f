/** @te/tensor: tensors, their functions, gradients, jit and random numbers. Ops are made in @te/tensor/op, devices in @te/tensor/backend. */
import "./methods.js";
import "./reference/backend.js";

export type { Aval } from "./aval.js";
export type { MemoryStats } from "./backend.js";
export { arange, eye, full, fullLike, iota, ones, onesLike, zeros, zerosLike } from "./create.js";
export { currentBackend, devices, memory, setDevice } from "./devices.js";
export { DTYPES, type DType, finfo, promoteTypes, type TypedArray } from "./dtype.js";
export { einsum } from "./einsum.js";
export { ERROR_CODES, type ErrorCode, TeError } from "./errors.js";
export type { TensorMethods } from "./methods.js";
// Functions of tensors.
export { argmax, argmin } from "./ops/argmax.js";
export { add, div, maximum, minimum, mul, pow, rem, sub } from "./ops/arithmetic.js";
export { repeat, split, stack, tril, triu } from "./ops/arrange.js";
export type { TensorLike } from "./ops/binary.js";
export { and, logicalAnd, logicalOr, logicalXor, or, shiftLeft, shiftRight, xor } from "./ops/bits.js";
export { bitcast, cast } from "./ops/cast.js";
export { eq, ge, gt, le, lt, ne } from "./ops/compare.js";
export { concat } from "./ops/concat.js";
export { crossEntropy } from "./ops/cross-entropy.js";
export { cumsum } from "./ops/cumsum.js";
export { type DotOptions, dot, matmul } from "./ops/dot.js";
export { dynamicSlice, dynamicUpdateSlice, type WindowStart } from "./ops/dynamic-slice.js";
export { flip } from "./ops/flip.js";
export { at, type Index } from "./ops/index-with.js";
export { logSoftmax } from "./ops/log-softmax.js";
export { logsumexp } from "./ops/logsumexp.js";
export { isFinite, isNaN, logicalNot, not } from "./ops/predicates.js";
export { all, any, max, mean, min, prod, type ReduceOptions, sum, variance } from "./ops/reduce.js";
export {
  broadcastTo,
  expandDims,
  flatten,
  moveAxis,
  reshape,
  squeeze,
  swapAxes,
  transpose,
} from "./ops/reshape.js";
export { clip, select, where } from "./ops/select.js";
export { pad, slice } from "./ops/slice.js";
export { softmax } from "./ops/softmax.js";
export { argsort, type SortOptions, sort, topK } from "./ops/sort.js";
export { oneHot, scatterAdd, take, takeAlongAxis } from "./ops/take.js";
export {
  abs,
  ceil,
  cos,
  erf,
  erfInv,
  exp,
  expm1,
  floor,
  log,
  log1p,
  neg,
  round,
  rsqrt,
  sigmoid,
  sign,
  sin,
  sqrt,
  square,
  tanh,
} from "./ops/unary.js";
export type { NestedArray } from "./pieces.js";
export * as random from "./random.js";
export { Tensor, tensor } from "./tensor.js";
// Transformations.
export {
  type CheckpointNode,
  type CheckpointOptions,
  type CheckpointPolicy,
  checkpoint,
  checkpointName,
  checkpointPolicies,
  stopGradient,
} from "./transforms/checkpoint.js";
export { customVjp } from "./transforms/custom-vjp.js";
export { type GradOptions, grad, valueAndGrad, vjp } from "./transforms/grad.js";
export { type JitOptions, jit, makeProgram } from "./transforms/jit.js";
export type { Sharding, Shardings } from "./transforms/placement.js";
export { evalShape } from "./transforms/run-traced.js";
export type {
  AnyFunction,
  AnyResult,
  Argnums,
  Cotangents,
  Gradient,
  GradientAt,
  Gradients,
  Position,
  Primal,
  Primals,
  Shapes,
} from "./transforms/types.js";
// Trees of tensors.
export type { LeafOf, MappedTree, TensorBranch, TensorTree, Tree, TreeDef } from "./tree.js";
export * as tree from "./tree.js";
