/** Proofs: parameters of the public interface that tests of the packages hold, and the titles of these tests. */
import { PAGE } from "./page.js";

/**
 * Which tests exercise a parameter, for those that neither a recorded case has nor a test of this package is named after.
 * A test is "package/file: beginning of its title"; the beginning leaves out the group of the device.
 */
export interface Proof {
  readonly covers: readonly string[];
  readonly by: readonly string[];
}

const CONTEXT_PARALLEL = ["contextParallelCausalLoadBalanced", "contextParallelAxis", "contextParallelStrategy"];

const of = (name: string, ...parameters: string[]): string[] => parameters.map((parameter) => `${name}.${parameter}`);

export const PROOFS: readonly Proof[] = [
  // Logical axes
  {
    covers: PAGE["logical axes"]!,
    by: [
      "sharding/logical-axes: logical axes have the original's values",
      "sharding/logical-axes: logical axes stand in the table in order",
    ],
  },
  // MeshResource
  {
    covers: of(
      "MeshResource",
      "dpResource",
      "tpResource",
      "tpspResource",
      "fsdpResource",
      "ppResource",
      "cpResource",
      "epResource",
    ),
    by: ["sharding/mesh: MeshResource has every field"],
  },
  {
    covers: of("MeshResource", "dpResource"),
    by: ["sharding/logical-axes: logical axes map data parallelism to the batch"],
  },
  {
    covers: of("MeshResource", "tpResource"),
    by: ["sharding/logical-axes: logical axes map tensor parallelism to heads"],
  },
  {
    covers: of("MeshResource", "tpspResource"),
    by: ["sharding/logical-axes: logical axes map tensor with sequence parallelism"],
  },
  {
    covers: of("MeshResource", "cpResource", "fsdpResource"),
    by: ["sharding/logical-axes: logical axes map context parallelism and fully sharded"],
  },
  {
    covers: of("globalShardGuard", "resource", "fn"),
    by: ["sharding/mesh: globalShardGuard sets and restores", "sharding/mesh: globalShardGuard works as `using`"],
  },
  {
    covers: ["globalMeshResource"],
    by: [
      "sharding/mesh: globalShardGuard sets and restores",
      "sharding/mesh: globalShardGuard refuses tensor parallelism",
    ],
  },
  // Autocast
  ...["fp8Autocast", "autocast"].map((name) => ({
    covers: of(name, "enabled", name === "autocast" ? "recipe" : "fp8Recipe", "fn"),
    by: [`fp8/autocast: ${name} is off by default`, `fp8/autocast: ${name} nests and restores`],
  })),
  {
    covers: ["fp8Autocast.meshResource", "autocast.meshResource"],
    by: ["fp8/autocast: autocast enters the guard of its mesh resource"],
  },
  // DelayedScaling
  {
    covers: ["DelayedScaling.fp8Format", "Format.E4M3", "Format.HYBRID"],
    by: [
      "fp8/dot: fp8DotGeneral gives product and gradients of the rounded operands",
      "fp8/recipes: Format names the types",
    ],
  },
  {
    covers: ["Format.E5M2"],
    by: ["fp8/recipes: Format names the types", "fp8/recipes: DelayedScaling rejects with option: { fp8Format"],
  },
  {
    covers: of(
      "DelayedScaling",
      "backwardOverride",
      "scalingFactorComputeAlgo",
      "reduceAmax",
      "overrideLinearPrecision",
      "fp8Dpa",
      "fp8Mha",
    ),
    by: [
      "fp8/recipes: DelayedScaling rejects with unsupported",
      "fp8/recipes: DelayedScaling takes every supported value",
    ],
  },
  {
    covers: of(
      "Float8CurrentScaling",
      "fp8Format",
      "usePower2Scales",
      "amaxEpsilon",
      "fp8Dpa",
      "fp8Mha",
      "backwardOverride",
    ),
    by: ["fp8/current-scaling: the recipe has the original's default and refuses what it does not do"],
  },
  { covers: of("DelayedScaling", "interval"), by: ["fp8/recipes: DelayedScaling warns of the interval"] },
  {
    covers: of("updateCollections", "fresh", "original"),
    by: ["fp8/collections: updateCollections replaces whole collections"],
  },
  // Layers
  {
    covers: of("LayerNorm", "epsilon", "layernormType", "zeroCenteredGamma", "dtype", "call.x"),
    by: ["layers/norm: N01"],
  },
  { covers: of("DenseGeneral", "features", "axis", "useBias", "dtype", "call.x"), by: ["layers/dense: L01"] },
  {
    covers: of("LayerNormMLP", "activations", "intermediateDim", "useBias", "dtype", "call.x"),
    by: ["layers/mlp: M01 ["],
  },
  { covers: of("LayerNormMLP", "activations"), by: ["layers/activations: A01"] },
  { covers: ["LayerNormDenseGeneral.axis"], by: ["layers/errors: LayerNormDenseGeneral axis other than -1"] },
  { covers: ["LayerNormMLP.axis"], by: ["layers/errors: LayerNormMLP axis other than -1"] },
  {
    covers: of(
      "LayerNormMLP",
      "intermediateDropoutRate",
      "intermediateDropoutRngName",
      "intermediateHiddenDropoutDims",
      "call.deterministic",
    ),
    by: ["layers/dropout: LayerNormMLP"],
  },
  { covers: ["LayerNormMLP.activationParams"], by: ["layers/mlp: M01 [ 'clamped_silu', 'clamped_linear' ]"] },
  // Attention
  {
    covers: of("DotProductAttention", "attnMaskType", "call.query", "call.key", "call.value"),
    by: ["transformer/attention: against float64 F01", "transformer/dot-product-attention: F01"],
  },
  {
    covers: of("DotProductAttention", "numGqaGroups"),
    by: ["transformer/attention: against float64 F02", "transformer/dot-product-attention: F02"],
  },
  { covers: of("DotProductAttention", "windowSize"), by: ["transformer/attention: against float64 F05"] },
  { covers: of("DotProductAttention", "attentionDropout"), by: ["transformer/attention: F08"] },
  {
    covers: of("TransformerLayer", "layernormType", "useBias"),
    by: ["transformer/layer: X01 rmsnorm", "transformer/layer: X03 rmsnorm"],
  },
  { covers: of("TransformerLayer", "zeroCenteredGamma"), by: ["transformer/layer: X01 zero-centred gamma"] },
  {
    covers: of("TransformerLayer", "mlpActivations"),
    by: ["transformer/layer: X01 gated", "transformer/layer: X03 gated"],
  },
  {
    covers: of("TransformerLayer", "numGqaGroups", "scaleAttnLogits"),
    by: ["transformer/layer: X01 grouped heads", "transformer/layer: X03 grouped heads"],
  },
  { covers: of("TransformerLayer", "enableRotaryPosEmb"), by: ["transformer/layer: X01 RoPE"] },
  {
    covers: of("TransformerLayer", "applyResidualConnectionPostLayernorm", "outputLayernorm"),
    by: ["transformer/layer: X01 residual after the norm"],
  },
  {
    covers: of("TransformerLayer", "enableRelativeEmbedding", "transposeBatchSequence", "call.attentionMask"),
    by: ["transformer/layer: X01 relative bias, padding"],
  },
  { covers: of("TransformerLayer", "windowSize"), by: ["transformer/layer: X01 window"] },
  {
    covers: of("DotProductAttention", "dtype"),
    by: ["transformer/deprecated: DotProductAttention dtype must be that of the inputs"],
  },
  {
    covers: of("DotProductAttention", "call.mask"),
    by: ["transformer/deprecated: DotProductAttention the mask as an option of the call"],
  },
  {
    covers: ["DotProductAttention.maxSegmentsPerSeq", "SequenceDescriptor.fromSeqlensAndOffsets"],
    by: ["transformer/packed: F01"],
  },
  {
    covers: ["DotProductAttention.contextCheckpointName"],
    by: ["transformer/checkpoint: attention contextCheckpointName names the result"],
  },
  {
    covers: of("DotProductAttention", ...CONTEXT_PARALLEL),
    by: ["transformer/context-parallel: cp2", "transformer/context-parallel: cp4"],
  },
  { covers: of("MultiHeadAttention", ...CONTEXT_PARALLEL), by: ["transformer/context-layer: cp2 MultiHeadAttention"] },
  { covers: of("TransformerLayer", ...CONTEXT_PARALLEL), by: ["transformer/context-layer: cp4 TransformerLayer"] },
  {
    covers: of("MultiHeadAttention", "outputLayernorm"),
    by: ["transformer/deprecated: MultiHeadAttention outputLayernorm is gone"],
  },
  {
    covers: of("MultiHeadAttention", "dtype"),
    by: ["conformance/attention-module: attention with projections is what it is made of"],
  },
  ...["dropoutRate", "applyResidualConnectionPostLayernorm", "fuseQkv"].map((name) => ({
    covers: of("MultiHeadAttention", name),
    by: [`transformer/deprecated: MultiHeadAttention ${name} takes effect`],
  })),
  {
    covers: ["SequenceDescriptor.fromSeqlens"],
    by: ["transformer/dot-product-attention: lengths say what a mask of right padding says"],
  },
  {
    covers: ["SequenceDescriptor.fromSegmentIdsAndPos"],
    by: ["transformer/dot-product-attention: sequences packed into one row attend as if each were alone"],
  },
  { covers: ["MultiHeadAttention.call.decode", "TransformerLayer.call.decode"], by: ["transformer/decode: "] },
  {
    covers: ["TransformerLayer.call.maxDecodeLength"],
    by: ["transformer/decode: fused parameters, relative embedding"],
  },
  {
    covers: ["TransformerLayer.layernormEpsilon"],
    by: ["transformer/layer: X01 zero-centred gamma, epsilon"],
  },
  { covers: ["TransformerLayer.fuseQkvParams"], by: ["transformer/layer: X01 window"] },
  { covers: ["TransformerLayer.hiddenDropoutDims"], by: ["transformer/dropout: hidden dropout shares its mask"] },
  { covers: ["TransformerLayer.hiddenDropout"], by: ["transformer/dropout: hidden dropout one key"] },
  { covers: ["TransformerLayer.attentionDropout"], by: ["transformer/dropout: attention dropout one key"] },
  { covers: ["TransformerLayer.intermediateDropout"], by: ["transformer/dropout: intermediate dropout one key"] },
  { covers: ["TransformerLayer.dropPath"], by: ["transformer/dropout: drop path"] },
  {
    covers: ["TransformerLayer.dropoutRngName"],
    by: ["hidden", "attention", "intermediate"].map(
      (kind) => `transformer/dropout: ${kind} dropout the stream has the name that dropoutRngName gives it`,
    ),
  },
  {
    covers: of("TransformerLayerType", "ENCODER", "DECODER"),
    by: ["transformer/trees: X06 'TransformerLayer"],
  },
  {
    covers: ["extendLogicalAxisRules.rules"],
    by: ["sharding/rules: extendLogicalAxisRules"],
  },
];
