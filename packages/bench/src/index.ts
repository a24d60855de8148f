// @te/bench: timings of single ops, layers and training steps, and the peaks of the machine that they ran on.
export { benchLayer, type LayerReport, type LayerRow, layerGflop } from "./layer.js";
export { type Machine, machine, Peak } from "./machine.js";
export { benchOps, type OpRow, type OpsReport } from "./ops.js";
export { benchReference, type ReferenceReport } from "./reference.js";
export { benchStep, type StepReport } from "./step.js";
