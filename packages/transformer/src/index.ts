// Attention
export { MASK_TYPES, type BiasType, type QkvLayout, type RopeMethod, type SoftmaxType } from "./attention-options.js";
export { type AttentionCallOptions, DotProductAttention, type DotProductAttentionOptions } from "./dot-product-attention.js";
export { MultiHeadAttention, type MultiHeadAttentionCallOptions, type MultiHeadAttentionOptions } from "./multi-head-attention.js";
export { SequenceDescriptor } from "./sequence-descriptor.js";
// Positions
export { RelativePositionBiases, type RelativePositionBiasesOptions } from "./relative-position-biases.js";
export { rope } from "./ops/rope.js";
// The layer
export {
  TransformerLayer,
  type TransformerLayerCallOptions,
  type TransformerLayerOptions,
  TransformerLayerType,
} from "./transformer-layer.js";
export type { LoraScope } from "./lora-scope.js";
// Ops
export { attentionBackwardOp, attentionOp } from "./ops/attention.js";
