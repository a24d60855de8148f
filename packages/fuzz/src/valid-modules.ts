/** Modules with right options and arguments. */
import * as layers from "@te/layers";
import * as transformer from "@te/transformer";
import type { Make } from "./valid-tensor-calls.js";

export interface ValidModule {
  readonly make: (options: any) => layers.Module;
  readonly options: Readonly<Record<string, unknown>>;
  readonly args: (m: Make) => readonly unknown[];
}

const heads = { headDim: 4, numAttentionHeads: 2 };
const layer = { hiddenSize: 8, mlpHiddenSize: 16, numAttentionHeads: 2, hiddenDropout: 0, attentionDropout: 0 };
const { TransformerLayerType, SequenceDescriptor } = transformer;

export const MODULES: Readonly<Record<string, ValidModule>> = {
  DenseGeneral: {
    make: (o) => new layers.DenseGeneral(o),
    options: { features: [2, 3], useBias: true, axis: -1, kernelAxes: ["embed", null, "mlp"], dtype: "float32" },
    args: (m) => [m.t(2, 4)],
  },
  LayerNorm: {
    make: (o) => new layers.LayerNorm(o),
    options: { epsilon: 1e-5, layernormType: "layernorm", zeroCenteredGamma: true, scaleAxes: ["embed"] },
    args: (m) => [m.t(2, 4)],
  },
  LayerNormDenseGeneral: {
    make: (o) => new layers.LayerNormDenseGeneral(o),
    options: { features: 3, enableLowRankAdaptation: true, lowRankAdaptationDim: 2, useBias: true },
    args: (m) => [m.t(2, 4)],
  },
  LayerNormMLP: {
    make: (o) => new layers.LayerNormMLP(o),
    options: { intermediateDim: 8, activations: ["gelu", "linear"], intermediateDropoutRate: 0, useBias: true },
    args: (m) => [m.t(2, 4), { deterministic: true }],
  },
  Dropout: {
    make: (o) => new layers.Dropout(o),
    options: { rate: 0.5, broadcastDims: [0], rngName: "dropout" },
    args: (m) => [m.t(2, 4), { deterministic: true }],
  },
  Embed: {
    make: (o) => new layers.Embed(o),
    options: { numEmbeddings: 5, features: 4, dtype: "float32" },
    args: (m) => [m.of("int32", 2, 3)],
  },
  RelativePositionBiases: {
    make: (o) => new transformer.RelativePositionBiases(o),
    options: { numBuckets: 8, maxDistance: 16, numAttentionHeads: 2, dtype: "float32" },
    args: () => [3, 4, { bidirectional: true }],
  },
  DotProductAttention: {
    make: (o) => new transformer.DotProductAttention(o),
    options: { ...heads, attnMaskType: "padding", attentionDropout: 0, transposeBatchSequence: false },
    args: (m) => [
      ...[m.t(2, 3, 2, 4), m.t(2, 3, 2, 4), m.t(2, 3, 2, 4)],
      m.draw.chance(0.5) ? SequenceDescriptor.fromSeqlens(m.of("int32", 2)) : m.of("bool", 2, 1, 3, 3),
      ...[null, { deterministic: true }],
    ],
  },
  MultiHeadAttention: {
    make: (o) => new transformer.MultiHeadAttention(o),
    options: { ...heads, attentionDropout: 0, useBias: true, enableRotaryPosEmb: true, inputLayernorm: true },
    args: (m) => [m.t(2, 3, 8), m.t(2, 3, 8), m.of("bool", 2, 1, 3, 3), null, { deterministic: true }],
  },
  TransformerLayer: {
    make: (o) => new transformer.TransformerLayer(o),
    options: { ...layer, layerType: TransformerLayerType.ENCODER, enableRelativeEmbedding: false },
    args: (m) => [m.t(2, 3, 8), null, m.of("bool", 2, 1, 3, 3), null, { deterministic: true }],
  },
  "TransformerLayer of a decoder": {
    make: (o) => new transformer.TransformerLayer(o),
    options: { ...layer, layerType: TransformerLayerType.DECODER, selfAttnMaskType: "causal" },
    args: (m) => [m.t(2, 3, 8), m.t(2, 4, 8), null, null, { deterministic: true }],
  },
};
