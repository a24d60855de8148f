// Importing the layers brings the native CPU kernels, where the platform has them.
import "@te/kernels-cpu";

// Layers
export { checkpointDotsAndTeGemms, dotsAndTeGemmsWithNoBatchDims, teGemmsSaveable } from "./checkpoint-policies.js";
export { DenseGeneral, type DenseGeneralOptions } from "./dense-general.js";
export { Dropout, type DropoutCallOptions, type DropoutOptions } from "./dropout.js";
export { Embed, type EmbedOptions } from "./embed.js";
export * from "./initializers.js";
export { LayerNorm, type LayerNormOptions } from "./layer-norm.js";
export { LayerNormDenseGeneral, type LayerNormDenseGeneralOptions } from "./layer-norm-dense-general.js";
export { type ClampedActivationParams, LayerNormMLP, type LayerNormMLPOptions } from "./layer-norm-mlp.js";
// Modules
export { type ApplyOptions, type Axes, Module, type ParameterMaker, type Variable } from "./module.js";
export type { LayerNormType } from "./norm-type.js";
// Ops
export { dropout, dropoutOp } from "./ops/dropout.js";
export { gatedActivationBackwardOp, gatedActivationOp } from "./ops/gated-activation.js";
export { gatedActivationQuantizeOp } from "./ops/gated-activation-quantize.js";
export { layerNormBackwardOp, layerNormOp } from "./ops/layer-norm.js";
export { layerNormQuantizeOp, rmsNormQuantizeOp } from "./ops/norm-quantize.js";
export { rmsNormBackwardOp, rmsNormOp } from "./ops/rms-norm.js";
export type { Collection, Rngs, Variables } from "./scope.js";
