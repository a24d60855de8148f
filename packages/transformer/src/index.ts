// Attention
export { type BiasType, MASK_TYPES, type QkvLayout, type RopeMethod, type SoftmaxType } from "./attention-options.js";
export { type AttentionCallOptions, DotProductAttention } from "./dot-product-attention.js";
export type { DotProductAttentionOptions } from "./dot-product-attention-options.js";
export type { LoraScope } from "./lora-scope.js";
export { MultiHeadAttention, type MultiHeadAttentionCallOptions } from "./multi-head-attention.js";
export type { MultiHeadAttentionOptions } from "./multi-head-attention-options.js";
// Ops
export { attentionBackwardOp, attentionOp } from "./ops/attention.js";
export { contextAttentionBackwardOp, contextAttentionOp } from "./ops/context-attention.js";
export { rope } from "./ops/rope.js";
// Positions
export {
  RelativePositionBiases,
  type RelativePositionBiasesCallOptions,
  type RelativePositionBiasesOptions,
} from "./relative-position-biases.js";
// Context parallelism
export { inverseReorderCausalLoadBalancing, ReorderStrategy, reorderCausalLoadBalancing } from "./reorder.js";
export { SequenceDescriptor } from "./sequence-descriptor.js";
// The layer
export { TransformerLayer, type TransformerLayerCallOptions } from "./transformer-layer.js";
export { type TransformerLayerOptions, TransformerLayerType } from "./transformer-layer-options.js";
