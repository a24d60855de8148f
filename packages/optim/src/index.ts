// @te/optim: optimizers, schedules of learning rates and clipping, as optax has them.
export { type AdamOptions, type AdamState, type AdamWOptions, adam, adamw } from "./adam.js";
export { clipByGlobalNorm, globalNorm } from "./clip.js";
export { adamwUpdateOp } from "./ops/adamw-update.js";
export { type CountState, scaleByLearningRate, scaleBySchedule } from "./scale-by-rate.js";
export {
  type CosineDecayScheduleOptions,
  constantSchedule,
  cosineDecaySchedule,
  joinSchedules,
  type LinearScheduleOptions,
  linearSchedule,
  type PolynomialScheduleOptions,
  polynomialSchedule,
  type Rate,
  type Schedule,
  type WarmupCosineDecayScheduleOptions,
  warmupCosineDecaySchedule,
} from "./schedule.js";
export { type SgdOptions, sgd, type TraceOptions, type TraceState, trace } from "./sgd.js";
export { applyUpdates, chain, type EmptyState, type GradientTransformation, identity, scale } from "./transform.js";
