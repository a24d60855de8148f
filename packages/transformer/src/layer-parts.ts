/** The submodules of a transformer layer, made from its options. Their variables are those of the module that is running. */
import { LayerNorm, LayerNormMLP } from "@te/layers";
import {
  BATCH_AXES,
  HIDDEN_AXES,
  HIDDEN_TP_AXES,
  W_FSDP_AXES,
  W_JOINED_AXES,
  W_NO_SHARD_AXES,
  W_TP_AXES,
} from "@te/sharding";
import { attentionBlockOptions } from "./attention-block-options.js";
import { sequenceAxes } from "./context-parallel.js";
import { loraUses, parseLoraScope } from "./lora-scope.js";
import { MultiHeadAttention } from "./multi-head-attention.js";
import type { MultiHeadAttentionOptions } from "./multi-head-attention-options.js";
import { axesOf } from "./projections.js";
import type { ResolvedLayerOptions } from "./transformer-layer-options.js";

/** Attention over the layer's inputs. */
export function selfAttention(name: string, o: ResolvedLayerOptions): MultiHeadAttention {
  return attention(o, {
    name,
    inputLayernorm: !o.outputLayernorm,
    attnMaskType: o.selfAttnMaskType,
    attnBiasType: o.selfAttnBiasType,
  });
}

/** Attention of a decoder to the encoder's output. */
export function crossAttention(o: ResolvedLayerOptions): MultiHeadAttention {
  const name = "encoder_decoder_attention";
  return attention(o, { name, inputLayernorm: true, attnMaskType: "padding", attnBiasType: "no_bias" });
}

function attention(o: ResolvedLayerOptions, own: Partial<MultiHeadAttentionOptions>): MultiHeadAttention {
  return new MultiHeadAttention({
    ...attentionBlockOptions(o),
    headDim: o.hiddenSize / o.numAttentionHeads,
    numAttentionHeads: o.numAttentionHeads,
    attentionDropout: o.attentionDropout,
    returnLayernormOutput: o.applyResidualConnectionPostLayernorm,
    kernelInit: o.mhaKernelInit,
    enableSequenceParallel: o.enableSequenceParallel,
    float32Logits: o.float32AttentionLogits,
    ...own,
  });
}

/** The norm and MLP after attention. */
export function mlp(o: ResolvedLayerOptions): LayerNormMLP {
  const axes = (...names: [string, string, string]): string[] => axesOf(o.transposeBatchSequence, ...names);
  const { inside, between } = sequenceAxes(o);
  return new LayerNormMLP({
    name: "mlp",
    intermediateDim: o.mlpHiddenSize,
    layernormType: o.layernormType,
    epsilon: o.layernormEpsilon,
    zeroCenteredGamma: o.zeroCenteredGamma,
    scaleAxes: [W_NO_SHARD_AXES],
    lnBiasAxes: [W_NO_SHARD_AXES],
    kernelInit: o.mlpKernelInit,
    kernelAxes1: [W_FSDP_AXES, W_JOINED_AXES, W_TP_AXES],
    kernelAxes2: [W_TP_AXES, W_FSDP_AXES],
    useBias: o.useBias,
    biasInit: o.biasInit,
    biasAxes1: [W_JOINED_AXES, W_TP_AXES],
    biasAxes2: [W_NO_SHARD_AXES],
    returnLayernormOutput: o.applyResidualConnectionPostLayernorm,
    activations: o.mlpActivations,
    activationParams: o.mlpActivationParams,
    intermediateDropoutRate: o.intermediateDropout,
    intermediateHiddenDropoutDims: o.intermediateDropoutDims,
    intermediateDropoutRngName: o.dropoutRngName,
    enableLowRankAdaptation: loraUses(parseLoraScope("TransformerLayer", o.lowRankAdaptationScope), "mlp"),
    lowRankAdaptationDim: o.lowRankAdaptationDim,
    lowRankAdaptationAlpha: o.lowRankAdaptationAlpha,
    dtype: o.dtype,
    transposeBatchSequence: o.transposeBatchSequence,
    layernormInputAxes: axes(BATCH_AXES, between, HIDDEN_AXES),
    dot1InputAxes: axes(BATCH_AXES, inside, HIDDEN_AXES),
    dot2InputAxes: axes(BATCH_AXES, inside, HIDDEN_TP_AXES),
  });
}

/** The norm of the layer's output. */
export function finalNorm(o: ResolvedLayerOptions): LayerNorm {
  return new LayerNorm({
    name: "output_layernorm",
    layernormType: o.layernormType,
    epsilon: o.layernormEpsilon,
    zeroCenteredGamma: o.zeroCenteredGamma,
    scaleAxes: [W_NO_SHARD_AXES],
    biasAxes: [W_NO_SHARD_AXES],
    dtype: o.dtype,
  });
}
