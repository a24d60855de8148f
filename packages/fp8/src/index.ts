export { type AutocastOptions, autocast, currentRecipe, type Fp8AutocastOptions, fp8Autocast } from "./autocast.js";
export { FP8_COLLECTION_NAME, NVTE_FP8_COLLECTION_NAME, updateCollections } from "./collections.js";
export {
  backwardDot,
  biasGradient,
  type ContractAxes,
  type ForwardDotOptions,
  type Fp8DotOptions,
  forwardDot,
  fp8DotGeneral,
} from "./dot.js";
export { type Float8, Format, type FormatSpec, float8Max, isFloat8Dtype } from "./format.js";
export { expectQuantization } from "./ops/check.js";
export { delayedScalingUpdateOp, type ScaleOptions, scaleFromHistory } from "./ops/delayed-scaling-update.js";
export { quantizeOp } from "./ops/quantize.js";
export { scaledDotOp } from "./ops/scaled-dot.js";
export {
  currentScale,
  dequantize,
  nameQuantized,
  nextMetas,
  nextState,
  type ProductMetas,
  productMetas,
  type Quantized,
  quantizedBy,
  quantizeWith,
  type ScaleState,
} from "./quantizer.js";
export { Float8CurrentScaling, type Float8CurrentScalingOptions } from "./recipes/current-scaling.js";
export { type AmaxComputeAlgo, DelayedScaling, type DelayedScalingOptions } from "./recipes/delayed-scaling.js";
export {
  getQuantizationRecipe,
  getSupportedQuantizationRecipes,
  isQuantizeRecipeSupported,
  type Recipe,
} from "./recipes/index.js";
