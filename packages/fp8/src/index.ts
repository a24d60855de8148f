// @te/fp8: recipes, the scope that puts one in force, and products of quantized tensors.
export { type AutocastOptions, autocast, currentRecipe, type Fp8AutocastOptions, fp8Autocast } from "./autocast.js";
export { FP8_COLLECTION_NAME, NVTE_FP8_COLLECTION_NAME, updateCollections } from "./collections.js";
export { type BackwardDotOptions, backwardDot, biasGradient, type Fp8DotOptions, fp8DotGeneral } from "./dot.js";
export { type Float8, Format, type FormatSpec, float8Max, isFloat8Dtype } from "./format.js";
export { nextMetas, nextState, type ProductMetas, productMetas } from "./metas.js";
export { expectQuantization } from "./ops/check.js";
export { delayedScalingUpdateOp, type ScaleOptions, scaleFromHistory } from "./ops/delayed-scaling-update.js";
export { quantizeOp } from "./ops/quantize.js";
export { scaledDotOp } from "./ops/scaled-dot.js";
export { nameQuantized, type Quantized } from "./quantized.js";
export { Float8CurrentScaling, type Float8CurrentScalingOptions } from "./recipes/current-scaling.js";
export {
  type AmaxComputeAlgo,
  DelayedScaling,
  type DelayedScalingOptions,
  type ScaleState,
} from "./recipes/delayed-scaling.js";
export {
  getQuantizationRecipe,
  getSupportedQuantizationRecipes,
  isQuantizeRecipeSupported,
} from "./recipes/index.js";
export type {
  ContractAxes,
  ForwardDotOptions,
  Quantizer,
  Recipe,
  Role,
  StateVariable,
  TensorState,
} from "./recipes/recipe.js";
export {
  currentScale,
  dequantize,
  forwardDot,
  quantizedBy,
  quantizeWith,
  type ScaledTensor,
} from "./tensor-scaling.js";
