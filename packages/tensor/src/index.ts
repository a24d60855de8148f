/** @te/tensor: tensors, tracing, gradients, jit, random numbers, and the contract of an op. */
import "./methods.js";

// Tensors and their element types.
export { isFloatTensor, type NestedArray, Tensor, tensor } from "./tensor.js";
export type { TensorMethods } from "./methods.js";
export {
  allocate,
  bytesOf,
  checkDType,
  type DType,
  DTYPES,
  FLOATS,
  finfo,
  isDType,
  isFloat,
  isFloat8,
  isInteger,
  promoteTypes,
  type TypedArray,
  viewAs,
} from "./dtype.js";
export * from "./float-codes.js";
export * from "./aval.js";
export * from "./create.js";
export { type ErrorCode, fail, TeError } from "./errors.js";

// Ops: functions of tensors, and the definitions behind them (addOp, dotOp, …).
export * from "./ops/index.js";
export { einsum } from "./einsum.js";
export * as random from "./random.js";

// Trees of tensors.
export * as tree from "./tree.js";
export type { Tree, TreeDef } from "./tree.js";

// Transformations.
export { grad, type GradOptions, valueAndGrad, vjp } from "./transforms/grad.js";
export { customVjp } from "./transforms/custom-vjp.js";
export {
  checkpoint,
  checkpointName,
  type CheckpointOptions,
  checkpointPolicies,
  type CheckpointPolicy,
  stopGradient,
} from "./transforms/checkpoint.js";
export { jit, type JitOptions, makeProgram } from "./transforms/jit.js";
export { runTraced } from "./transforms/run-traced.js";
export { createScope, type Scope, traceContextKey } from "./scope.js";

// The contract of an op.
export {
  definedOps,
  defineOp,
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
} from "./op.js";
export { type Rule, rule } from "./rule.js";
export { type Case, CaseBuilder, type CaseTolerance, type Fill } from "./cases.js";
export { emptyLike, loadBroadcast, loadFloat64, loadNumbers, storeFloat64, storeNumbers } from "./reference/host.js";
export { stridedCopy } from "./reference/strided.js";

// Programs and the devices that run them.
export { Program, type ProgramNode } from "./program/program.js";
export { fuseElementwise } from "./program/fuse.js";
export { type MemoryPlan, planMemory } from "./program/plan-memory.js";
export { applyOp, currentTrace, type Trace, withTrace } from "./trace.js";
export {
  asTeError,
  type Backend,
  currentBackend,
  type DeviceBuffer,
  devices,
  type Executable,
  memory,
  type MemoryStats,
  type NodeSpec,
  registerBackend,
  setDevice,
  warnOnce,
} from "./backend.js";
