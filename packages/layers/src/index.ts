// Importing the layers brings the native CPU kernels, where the platform has them.
import "@te/kernels-cpu";
// ... and the passes that join norms and activations with the quantization of their results.
import "./ops/quantize-passes.js";

// Checks of options, for modules that hand them on to the layers here
export { type ClampedActivationParams, parseActivations } from "./activations.js";
// Layers
export { checkpointDotsAndTeGemms, dotsAndTeGemmsWithNoBatchDims, teGemmsSaveable } from "./checkpoint-policies.js";
export { checkParameterDType, warnWideInput } from "./dense.js";
export { DenseGeneral, type DenseGeneralOptions } from "./dense-general.js";
export { checkRate, Dropout, type DropoutCallOptions, type DropoutOptions } from "./dropout.js";
export { Embed, type EmbedOptions } from "./embed.js";
export * from "./initializers.js";
export { checkNorm, LayerNorm, type LayerNormOptions } from "./layer-norm.js";
export { LayerNormDenseGeneral, type LayerNormDenseGeneralOptions } from "./layer-norm-dense-general.js";
export { LayerNormMLP, type LayerNormMLPOptions } from "./layer-norm-mlp.js";
export { checkLora } from "./lora.js";
export { type Axes, Module, type ParameterMaker, type Variable } from "./module.js";
export { checkName } from "./names.js";
export type { LayerNormType } from "./norm-type.js";
// Ops
export { dropout, dropoutOp } from "./ops/dropout.js";
export { gatedActivationBackwardOp, gatedActivationOp } from "./ops/gated-activation.js";
export { gatedActivationQuantizeOp } from "./ops/gated-activation-quantize.js";
export { layerNormBackwardOp, layerNormOp } from "./ops/layer-norm.js";
export { layerNormQuantizeOp, rmsNormQuantizeOp } from "./ops/norm-quantize.js";
export { rmsNormBackwardOp, rmsNormOp } from "./ops/rms-norm.js";
// Variables of inference and from elsewhere
export { quantizeKernels } from "./quantize-kernels.js";
export type {
  ApplyArguments,
  ApplyOptions,
  AxesTree,
  CollectionNamed,
  InitArguments,
  MutableArguments,
  MutableResult,
  Rngs,
  Variables,
  VariableTree,
} from "./types.js";
export { checkVariables, type ExpectedVariables } from "./variables.js";
