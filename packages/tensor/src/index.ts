/** @te/tensor: tensors, tracing, gradients, jit, random numbers, and the contract of an op. */
import "./methods.js";

export * from "./aval.js";
export {
  asTeError,
  type Backend,
  currentBackend,
  type DeviceBuffer,
  devices,
  type Executable,
  type MemoryStats,
  memory,
  type NodeSpec,
  registerBackend,
  setDevice,
} from "./backend.js";
export { type Case, CaseBuilder, type CaseTolerance, type Fill } from "./cases.js";
export * from "./create.js";
export {
  allocate,
  bytesOf,
  checkDType,
  DTYPES,
  type DType,
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
export { einsum } from "./einsum.js";
export { ERROR_CODES, type ErrorCode, fail, TeError } from "./errors.js";
export * from "./expect.js";
export * from "./float-codes.js";
export { asBytes } from "./host-array.js";
export { Lru } from "./lru.js";
export type { TensorMethods } from "./methods.js";
export {
  buildFolders,
  findBeside,
  findInstalled,
  foldersOf,
  loadAddon,
  type ModuleNames,
} from "./native-file.js";
// The contract of an op.
export {
  definedOps,
  defineOp,
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
} from "./op.js";
// Ops: functions of tensors, and the definitions behind them (addOp, dotOp, …).
export * from "./ops/index.js";
export { checkOptions, type Defaults, nearestName, type WithDefaults, withDefaults } from "./options.js";
export type { NestedArray } from "./pieces.js";
export { fuseElementwise } from "./program/fuse.js";
export { optimize } from "./program/optimize.js";
export { type MemoryPlan, planMemory } from "./program/plan-memory.js";
// Programs and the devices that run them.
export { Program, type ProgramNode } from "./program/program.js";
export * as random from "./random.js";
export { loadBroadcast, loadFloat64, storeFloat64, storeNumbers } from "./reference/host.js";
export { stridedCopy } from "./reference/strided.js";
export { type Rule, rule } from "./rule.js";
export { createScope, type Scope, traceContextKey } from "./scope.js";
export { wantsKernels, warnOnce } from "./settings.js";
// Tensors and their element types.
export { isFloatTensor, Tensor, tensor, tensorOwning } from "./tensor.js";
export { applyOp, currentTrace, type Trace, withTrace } from "./trace.js";
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
// Transformations.
export { type GradOptions, grad, valueAndGrad, vjp } from "./transforms/grad.js";
export { type JitOptions, jit, makeProgram } from "./transforms/jit.js";
export { evalShape, runTraced } from "./transforms/run-traced.js";
export {
  declareStateCollection,
  isStateCollection,
  markState,
  type StateRule,
  stateAfter,
} from "./transforms/state.js";
export { UNCHANGING } from "./transforms/static-key.js";
export type { Tree, TreeDef } from "./tree.js";
// Trees of tensors.
export * as tree from "./tree.js";
