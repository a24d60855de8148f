/** @te/tensor/backend, for devices and passes: programs, what runs them, and what happens to them before. */
import "../index.js"; // ops, methods and the reference are there whichever door was taken

export { asTeError } from "../as-error.js";
export { byteSize } from "../aval.js";
export type { Backend, DeviceBuffer, Executable, MemoryStats, NodeSpec, Transport, World } from "../backend.js";
export { fallbackBackend, type RegisterOptions, registerBackend, spreadPrograms } from "../devices.js";
export { Lru } from "../lru.js";
export {
  lackingFunction,
  type NativeAddon,
  type NativeAval,
  type NativeNode,
  type NativeProgram,
} from "../native/addon.js";
export { type NativeDevice, nativeBackend } from "../native/backend.js";
export { describeProgram } from "../native/describe-program.js";
export { joinAdamwUpdates, joinSquareSums, type TensorsAtOnce } from "../native/optimizer-passes.js";
export { type KernelTiming, profileKernels } from "../native/profile.js";
export { buildFolders, findBeside, findInstalled, foldersOf, loadAddon, type ModuleNames } from "../native-file.js";
export { type Compiled, compile, dispose } from "../program/compile.js";
export { expand, traceReference } from "../program/expand.js";
export { elementwiseOp, fuseElementwise, instructionOf } from "../program/fuse.js";
export { type Join, joinedNode, joinNodes, type KindOf, type Pair } from "../program/join.js";
export { Links, replaceNodes } from "../program/links.js";
export { lower } from "../program/lower.js";
export { addPass, type Pass, type PassContext, type PassPlace, passes, runPasses } from "../program/passes.js";
export { type Location, type MemoryPlan, planMemory } from "../program/plan-memory.js";
export { expectProgram, Program, type ProgramConstant, type ProgramNode } from "../program/program.js";
export { dropUnused, simplify } from "../program/simplify.js";
export { type EvaluateOptions, evaluateProgram } from "../reference/evaluate.js";
export { logLine, wantsKernels, wantsLog, warnOnce } from "../settings.js";
export { tensorOnDevice } from "../tensor.js";
