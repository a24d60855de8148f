// @te/plan: what a train step costs every device of a mesh, without running it.
export { abstractTensor, abstractTree } from "./abstract.js";
export { HARDWARE, type Hardware, hardwareOf, type Link } from "./hardware.js";
export { measureHardware, type Yardsticks } from "./measure.js";
export type { Memory, Role } from "./memory.js";
export { meshesOf, parseMesh, type Ranked, resourceOf, type SearchOptions, search } from "./meshes.js";
export {
  MODELS,
  type ModelSize,
  modelOf,
  PRECISIONS,
  type Precision,
  type Training,
  type TrainingStep,
  trainingStep,
} from "./models.js";
export { memoryPicture } from "./picture.js";
export { type Kernels, makePlanned, type Plan, type PlanOptions, plan, planPartitioned, type Traffic } from "./plan.js";
export { type ModelPlanOptions, planModel } from "./plan-model.js";
export { printPlan, printRanking } from "./print.js";
export type { CriticalPath, Time } from "./schedule.js";
