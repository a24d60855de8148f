/** What the original does beyond its parameters, by row, and the tests that show it here. */
export interface Behaviour {
  readonly row: string;
  readonly says: string;
  /** Tests as "package/file: beginning of the title", or "golden: beginning of the id of recorded cases". */
  readonly by: readonly string[];
}

const rows: Readonly<Record<string, Readonly<Record<string, readonly string[]>>>> = {
  "logical axes": {
    "fsdp stands before dp for the batch where its axis is larger than 1": [
      "sharding/logical-axes: logical axes take fsdp before dp",
    ],
    "tpsp stands before tp where its axis is larger than 1": [
      "sharding/logical-axes: logical axes take tpsp before tp",
    ],
    "a constraint without names or without a mesh is the tensor itself; its rank is checked": [
      "sharding/constraint: withShardingConstraintByLogicalAxes",
    ],
    "the first rule whose mesh axis is still free decides": ["sharding/rules: logicalToMeshAxes takes the first rule"],
    "layers record the logical axes of their parameters": ["layers/trees: X06", "transformer/trees: X06"],
    "names split tensors over a mesh, and change no value": ["conformance/meshes: virtual devices: logical axes"],
    "so they do on several processes": ["conformance/meshes: processes"],
    "what does not divide is an error with the nearest sizes that do": [
      "sharding/constraint: withShardingConstraintByLogicalAxes refuses what does not divide",
    ],
  },
  MeshResource: {
    "guards nest, restore after errors, and follow await": ["sharding/mesh: globalShardGuard"],
    "no resource in force is an error inside a mesh": [
      "sharding/logical-axes: logical axes need a guard inside a mesh",
    ],
    "an axis that the mesh does not have is an error": ["sharding/logical-axes: logical axes reject an axis"],
    "a compiled program belongs to the resource that it was traced under": [
      "sharding/mesh: globalShardGuard is part of what jit",
    ],
    "each axis splits what it is for; loss and gradients are those of one device": [
      "conformance/meshes: virtual devices: MeshResource",
    ],
    "so they are on several processes": ["conformance/meshes: processes"],
    "devices exchange what closed formulas say": ["transformer/mesh-collectives: a layer exchanges"],
  },
  fp8Autocast: {
    "contexts nest; an inner one that is off turns FP8 off": [
      "fp8/autocast: fp8Autocast nests",
      "fp8/autocast: autocast nests",
    ],
    "each of two tasks that take turns keeps its own": ["fp8/autocast: fp8Autocast follows awaits"],
    "layers have FP8 state only inside, and inside need it": ["layers/fp8-scope: "],
    "a compiled program belongs to the recipe that it was traced under": ["fp8/autocast: autocast is part of what jit"],
  },
  DelayedScaling: {
    "Q01: casts to FP8 round to nearest, ties to even, and saturate": [
      "fp8/quantize: quantize Q01",
      "tensor/casts: Q01",
    ],
    "quantize multiplies in float32 and rounds once; amax is taken before scaling": [
      "fp8/quantize: quantize multiplies",
      "fp8/quantize: quantize lets NaN",
    ],
    "T01: a transposed copy has the bytes of its original": ["fp8/quantize: quantize T01"],
    "D01: scales and bytes of seven steps": ["fp8/delayed-scaling: delayed scaling D01"],
    "the history rolls; a scale counts from the next step on": [
      "fp8/delayed-scaling: delayed scaling follows the reference trace",
      "fp8/delayed-scaling: recorded quantizers",
    ],
    "an amax that is zero or not finite keeps the scale; the scale stays within float32": [
      "fp8/delayed-scaling: delayed scaling is not bent",
      "fp8/delayed-scaling: delayed scaling keeps the scale within float32",
    ],
    "G03: e4m3 × e4m3, e5m2 × e4m3 and e4m3 × e5m2 in every layout": ["fp8/scaled-dot: scaled_dot G03"],
    "L02: three steps, then a jump that saturates once": ["fp8/dot: fp8DotGeneral L02", "layers/dense-fp8: L02"],
    "the gradient of FP8 state is its new value, whatever the scale of the loss": [
      "fp8/dot: fp8DotGeneral returns new metas as their gradient",
      "fp8/dot: fp8DotGeneral does not depend on the scale of the loss",
    ],
    "evaluation leaves the state alone": [
      "fp8/dot: fp8DotGeneral leaves metas alone",
      "layers/fp8-scope: DenseGeneral evaluation",
    ],
    "state has the original's names, shapes and initial values": [
      "fp8/delayed-scaling: productMetas creates",
      "layers/trees: X06",
      "transformer/trees: X06",
    ],
  },
  Float8CurrentScaling: {
    "C01: scales and bytes from the tensor itself": ["fp8/current-scaling: C01"],
    "there is no state, and gradients are those of the rounded operands": [
      "fp8/current-scaling: a product keeps no state",
    ],
    "FP8 steps as recorded": ["golden: fp8c-"],
  },
  updateCollections: {
    "whole collections are replaced, and neither argument changes": [
      "fp8/collections: updateCollections replaces",
      "fp8/collections: updateCollections changes neither",
    ],
    "the result is frozen if the original is": ["fp8/collections: updateCollections is frozen"],
  },
  LayerNorm: {
    "N01: values and gradients against float64": ["layers/norm: N01"],
    "known vectors; epsilon stands inside of the root": ["layers/norm: vectors"],
    "types in any spelling": ["layers/errors: norms LayerNorm: type"],
    variables: ["golden: layernorm-", "layers/trees: X06 'LayerNorm"],
  },
  DenseGeneral: {
    "G01: products in every layout": ["conformance/products: G01"],
    "L01: values and gradients against float64": ["layers/dense: L01"],
    "several contracted axes and several feature axes": ["golden: dense-f2x3x8", "golden: dense-f24-a-2_-1"],
    "E03: a network whose dense layers run in FP8 learns to read digits": ["mnist/mnist: E03"],
    "the bias is added in high precision": ["layers/dense-fp8: the bias is added in high precision"],
    variables: ["golden: dense-", "layers/trees: X06 'DenseGeneral"],
  },
  LayerNormDenseGeneral: {
    "a norm and a product against float64": ["layers/dense: a norm and a product"],
    "N03: the norm writes the codes that quantizing its float32 result gives": ["conformance/products: N03"],
    "FP8 steps as recorded": ["golden: fp8d-11-", "golden: fp8d-14-"],
    variables: ["golden: lndense-", "layers/trees: X06 'LayerNormDenseGeneral"],
  },
  LayerNormMLP: {
    "M01: values and gradients against float64": ["layers/mlp: M01 ["],
    "M01: the fused FP8 form is the composed one": ["layers/mlp: M01 fp8"],
    "A01: activations, alone and gated; gelu is the tanh form": [
      "layers/activations: A01",
      "layers/activations: float32 tells",
    ],
    "results of any list of activations are multiplied": [
      "golden: lnmlp-relu_relu",
      "layers/mlp: M01 [ 'relu', 'silu', 'linear' ]",
    ],
    "a leading linear moves to the end": ["layers/errors: LayerNormMLP names in any case"],
    "an adapter sees the norm's output, in FP8 too": ["layers/mlp: an adapter sees"],
    "FP8 steps as recorded": ["golden: fp8d-17-", "golden: fp8d-24-", "golden: fp8d-27-", "golden: fp8d-31-"],
    variables: ["golden: lnmlp-", "layers/trees: X06 'LayerNormMLP"],
  },
  RelativePositionBiases: {
    "buckets in both directions and in one": ["transformer/positions: T5 buckets", "golden: relpos-"],
    variables: ["transformer/trees: X06 RelativePositionBiases"],
  },
  DotProductAttention: {
    "F01: every mask type against float64; padded parts are exactly 0": [
      "transformer/attention: against float64 F01",
      "transformer/dot-product-attention: F01",
    ],
    "F02: grouped heads; gradients of keys and values are sums over the group": [
      "transformer/attention: against float64 F02",
      "transformer/dot-product-attention: F02",
    ],
    "F05: windows, with or without a mask": [
      "transformer/attention: against float64 F05",
      "transformer/dot-product-attention: F01 a window",
    ],
    "F08: dropout keeps its rate, its seed and its mask in the backward pass": ["transformer/attention: F08"],
    "F11: repeats are equal to the bit": ["transformer/attention: F11"],
    "S01: softmax": ["tensor/softmax: S01", "transformer/softmax: S01"],
    "a query that sees nothing gives zeros": ["transformer/dot-product-attention: a row that sees nothing"],
    "a bias is added once, before or after scaling": ["transformer/dot-product-attention: the bias is added"],
    "packed layouts": ["transformer/dot-product-attention: packed layouts"],
    "sequence-first leaves mask and bias alone": ["transformer/dot-product-attention: sequence-first"],
    "sinks are not scaled": ["transformer/dot-product-attention: off_by_one is learnable softmax at 0"],
    "packed sequences attend as if each were alone, in every packed layout": [
      "transformer/dot-product-attention: sequences packed",
      "transformer/packed: F01",
      "transformer/packed: thd_t2hd and t3hd",
    ],
    "what is hidden stays out, NaN included": ["transformer/contamination: "],
    "over a context-parallel axis, ring and all-gather, in every order": [
      "transformer/context-parallel: cp2",
      "transformer/context-parallel: cp4",
      "transformer/context-parallel: dp2 x cp2",
      "transformer/context-parallel: tp2 x cp2",
    ],
    "what a context-parallel axis exchanges": ["transformer/context-collectives: "],
    "what a context-parallel axis does not have is refused": ["transformer/context-errors: "],
    "load-balanced orders and their inverses": ["transformer/reorder: "],
    "memory grows with the length, not with its square": ["transformer/attention: long sequences"],
  },
  MultiHeadAttention: {
    "RoPE: known vectors, by pairs and by halves; scores depend on distances": [
      "transformer/positions: rope",
      "transformer/rope: rope",
    ],
    "projections fused, partly and separate; self- and cross-attention": [
      "golden: mha-",
      "transformer/trees: X06 'MultiHeadAttention",
    ],
    "decoding with a cache gives what the whole sequence gives": ["transformer/decode: "],
    "names of checkpoints": [
      "conformance/fused-modules: names of what a checkpoint may keep of attention's projections",
    ],
  },
  TransformerLayer: {
    "X01: eight sets of options, every element and gradient": ["transformer/layer: X01"],
    "X03: in FP8 within its noise": ["transformer/layer: X03", "golden: fp8d-37-"],
    "X06: variables; save, load, go on": ["transformer/trees: X06", "transformer/resume: "],
    "encoder and decoder as recorded": ["golden: layer-encoder-", "golden: layer-decoder-"],
    "drop path drops both branches of whole samples": ["transformer/dropout: drop path drops both"],
    "E01: training learns to look values up": ["transformer/lookup: E01"],
    "Z01: memory stays where it is": ["transformer/memory: Z01"],
  },
  TransformerLayerType: {
    "a decoder needs what it attends to, and its mask": ["transformer/errors: TransformerLayer a decoder needs"],
  },
  extendLogicalAxisRules: {
    "rules keep their order, and the table follows": ["sharding/rules: extendLogicalAxisRules keeps the rules"],
    "a name of the layers may stand once, with the table's axis": ["sharding/rules: extendLogicalAxisRules rejects"],
    "a rule of the user's decides where a parameter lies, and changes no value": [
      "conformance/meshes: virtual devices: extendLogicalAxisRules",
    ],
    "so it does on several processes": ["conformance/meshes: processes"],
  },
};

export const BEHAVIOURS: readonly Behaviour[] = Object.entries(rows).flatMap(([row, behaviours]) =>
  Object.entries(behaviours).map(([says, by]) => ({ row, says, by })),
);

/** The cases of the conformance list that need no GPU, no mesh and no recipe but delayed and current scaling: each has a test. */
export const CASE_IDS =
  "Q01 D01 C01 T01 G01 G03 L01 L02 N01 N03 A01 S01 M01 F01 F02 F05 F08 F11 X01 X03 X06 E01 E03 Z01".split(" ");
