/**
 * @te/tensor/op, for authors of ops, layers and recipes: the contract of an op, the ops as definitions, checks of arguments,
 * state and scopes. What users call is in @te/tensor.
 */
import "../index.js"; // ops, methods and the reference are there whichever door was taken

export { applyOp } from "../apply-op.js";
export * from "../aval.js";
export { type Case, CaseBuilder, type CaseTolerance, type Fill } from "../cases.js";
export { defineOp } from "../define-op.js";
export {
  allocate,
  bytesOf,
  checkDType,
  type DType,
  FLOATS,
  isDType,
  isFloat,
  isFloat8,
  isInteger,
  type TypedArray,
  viewAs,
} from "../dtype.js";
export { fail } from "../errors.js";
export * from "../expect.js";
export * from "../float-codes.js";
export { asBytes } from "../host-array.js";
export {
  definedOps,
  formatParams,
  type HostArray,
  inferShapes,
  inputNames,
  nameInputs,
  nameOutputs,
  type Op,
  type OpDefinition,
  type OpSpec,
  type Params,
  type ParamValue,
  type VjpArgs,
} from "../op.js";
// The ops of @te/tensor, as definitions that are called with named tensors.
export { argmaxOp, argminOp } from "../ops/argmax.js";
export { addOp, divOp, maximumOp, minimumOp, mulOp, powOp, remOp, subOp } from "../ops/arithmetic.js";
export { applyBinary, type BinaryOp, type BinarySpec, binary, type TensorLike } from "../ops/binary.js";
export { andOp, orOp, shiftLeftOp, shiftRightOp, xorOp } from "../ops/bits.js";
export { bitcastOp, castOp } from "../ops/cast.js";
export * from "../ops/check.js";
export { checkRange, checkRangeOp, type RangeCheck } from "../ops/check-range.js";
export { eqOp, geOp, gtOp, leOp, ltOp, neOp } from "../ops/compare.js";
export { concatOp } from "../ops/concat.js";
export { crossEntropyBackwardOp, crossEntropyOp } from "../ops/cross-entropy.js";
export { cumsumOp } from "../ops/cumsum.js";
export { dotOp } from "../ops/dot.js";
export { type DotAxes, dotShape, freeAxes } from "../ops/dot-axes.js";
export { dotRule, holdsBias } from "../ops/dot-rule.js";
export { checkPlace, type Place } from "../ops/draw.js";
export { dynamicSliceOp, dynamicUpdateSliceOp } from "../ops/dynamic-slice.js";
export { fillOp, iotaOp } from "../ops/fill.js";
export { flipOp } from "../ops/flip.js";
export { logsumexpOp } from "../ops/logsumexp.js";
export { barrierOp, checkpointNameOp, identityOp, stopGradientOp } from "../ops/mark.js";
export { isFiniteOp, notOp } from "../ops/predicates.js";
export { promote, promoteAll, scalar, sumTo } from "../ops/promote.js";
export { drawKept, randomBitsOp, randomFoldInOp, randomSplitOp } from "../ops/random-bits.js";
export { reduceMaxOp, reduceMinOp, reduceProdOp, reduceSumOp } from "../ops/reduce.js";
export { broadcastToOp, reshapeOp, transposeOp } from "../ops/reshape.js";
export { selectOp } from "../ops/select.js";
export { padOp, sliceOp } from "../ops/slice.js";
export { softmaxBackwardOp, softmaxOp } from "../ops/softmax.js";
export { sortOp } from "../ops/sort.js";
export { scatterAddOp, takeAlongAxisOp, takeOp } from "../ops/take.js";
export {
  absOp,
  ceilOp,
  cosOp,
  erfInvOp,
  erfOp,
  expm1Op,
  expOp,
  floorOp,
  log1pOp,
  logOp,
  negOp,
  roundOp,
  rsqrtOp,
  sigmoidOp,
  signOp,
  sinOp,
  sqrtOp,
  squareOp,
  tanhOp,
} from "../ops/unary.js";
export { checkOptions, type Defaults, nearestName, type WithDefaults, withDefaults } from "../options.js";
export { loadBroadcast, loadFloat64, storeFloat64, storeNumbers } from "../reference/host.js";
export { stridedCopy } from "../reference/strided.js";
export { createScope, type Scope, traceContextKey } from "../scope.js";
export { warnOnce } from "../settings.js";
export { shardingRule } from "../sharding/read-rule.js";
export {
  axisTerm,
  elementwiseRule,
  type Factor,
  formatRule,
  type Operand,
  type Reduction,
  type Rule,
  type RuleOptions,
  type RuleText,
  rule,
  wholeRule,
} from "../sharding/rule.js";
export { applyShard, type Range, Shard } from "../sharding/shard.js";
export { runShardTogether, type Sent, type Together } from "../sharding/together.js";
export { isFloatTensor, tensorOwning } from "../tensor.js";
export { currentTrace, type Trace, withTrace } from "../trace.js";
export { runTraced } from "../transforms/run-traced.js";
export {
  declareStateCollection,
  isStateCollection,
  markState,
  type StateRule,
  stateAfter,
} from "../transforms/state.js";
export { UNCHANGING } from "../transforms/static-key.js";
