/** Options, values and arguments that are refused. Each is tried, and the error is reported. */
import {
  DelayedScaling,
  Float8CurrentScaling,
  fp8Autocast,
  getQuantizationRecipe,
  isQuantizeRecipeSupported,
  updateCollections,
} from "@te/fp8";
import { DenseGeneral, LayerNorm, LayerNormDenseGeneral, LayerNormMLP, type Module } from "@te/layers";
import {
  BATCH_AXES,
  extendLogicalAxisRules,
  globalMeshResource,
  globalShardGuard,
  Mesh,
  MeshResource,
  withMesh,
  withShardingConstraintByLogicalAxes,
} from "@te/sharding";
import { random, TeError, type Tensor, tensor } from "@te/tensor";
import {
  DotProductAttention,
  MultiHeadAttention,
  RelativePositionBiases,
  SequenceDescriptor,
  TransformerLayer,
} from "@te/transformer";

export interface Refusal {
  readonly row: string;
  /** What is given. */
  readonly what: string;
  /** The option that is refused, where it is one alone. */
  readonly option?: string | undefined;
  readonly attempt: () => unknown;
}

export interface Refused {
  readonly what: string;
  /** Code and message of the error; undefined where nothing was thrown. */
  readonly code: string | undefined;
  readonly message: string | undefined;
}

/** Tries it. Errors other than TeErrors are not refusals. */
export function tryRefusal({ what, attempt }: Refusal): Refused {
  try {
    attempt();
  } catch (error) {
    if (TeError.is(error)) return { what, code: (error as TeError).code, message: (error as TeError).message };
    throw error;
  }
  return { what, code: undefined, message: undefined };
}

const zeros = (...shape: number[]): Tensor =>
  tensor(new Float32Array(shape.reduce((product, d) => product * d, 1)), { shape });
const x = zeros(2, 3, 8);
const q = zeros(2, 3, 2, 4);
const heads = { headDim: 4, numAttentionHeads: 2 };
const small = { hiddenSize: 8, mlpHiddenSize: 16, numAttentionHeads: 2 };
/** Options as JSON, with words for what JSON has none for. */
const given = (value: unknown): string =>
  JSON.stringify(value, (_, v) => {
    if (v === undefined) return "undefined";
    if (typeof v === "function") return "a function";
    return typeof v === "number" && !Number.isFinite(v) ? String(v) : v;
  });

const onlyKey = (options: object): string | undefined => {
  const keys = Object.keys(options);
  return keys.length === 1 ? keys[0] : undefined;
};

/** Options that a constructor refuses. */
const constructing = (row: string, make: (options: any) => unknown, ...options: object[]): Refusal[] =>
  options.map((option) => ({ row, what: given(option), option: onlyKey(option), attempt: () => make(option) }));

/** Options that init refuses with these arguments. */
const initializing = (row: string, make: (options: any) => Module, args: unknown[], ...options: object[]): Refusal[] =>
  options.map((option) => ({
    row,
    what: given(option),
    option: onlyKey(option),
    attempt: () => make(option).init(random.key(0), ...args),
  }));

/** Anything else, described in words. */
const calling = (row: string, attempts: Record<string, () => unknown>): Refusal[] =>
  Object.entries(attempts).map(([what, attempt]) => ({ row, what, attempt }));

const attend = (options: object, ...args: unknown[]) => {
  const attention: Module = new DotProductAttention({ ...heads, ...options });
  return attention.apply({}, ...args);
};

export const REFUSALS: readonly Refusal[] = [
  ...calling("logical axes", {
    "a name that begins with nvte_ and is none of the layers'": () =>
      withShardingConstraintByLogicalAxes(x, ["nvte_bach", null, null]),
    "two names for three dimensions": () => withShardingConstraintByLogicalAxes(x, [BATCH_AXES, null]),
  }),
  ...constructing("MeshResource", (o) => new MeshResource(o), { dataResource: "data" }, { dpResource: 3 }),
  ...calling("MeshResource", {
    "no resource in force": () => globalMeshResource(),
    "tensor parallelism on two axes": () =>
      withMesh(new Mesh({ a: 2, b: 2 }), () =>
        globalShardGuard(new MeshResource({ tpResource: "a", tpspResource: "b" }), () => globalMeshResource()),
      ),
    "a guard of something else": () => globalShardGuard({} as never, () => 0),
    "an axis that the mesh does not have": () =>
      withMesh(new Mesh({ a: 2 }), () =>
        globalShardGuard(new MeshResource({ dpResource: "data" }), () =>
          withShardingConstraintByLogicalAxes(x, [BATCH_AXES, null, null]),
        ),
      ),
  }),
  ...constructing(
    "fp8Autocast",
    (o) => fp8Autocast(o, () => 0),
    { recipe: {} },
    { enabled: 1 },
    { fp8Recipe: {} },
    { meshResource: {} },
  ),
  ...constructing(
    "DelayedScaling",
    (o) => new DelayedScaling(o),
    { margin: Number.NaN },
    { fp8Format: "E5M2" },
    { fp8Format: "E2M1" },
    { amaxHistoryLen: 0 },
    { amaxComputeAlgo: "mean" },
    { scalingFactorComputeAlgo: "max" },
    { reduceAmax: false },
    { overrideLinearPrecision: [false, false, true] },
    { fp8Dpa: true },
    { fp8Mha: true },
    { backwardOverride: "dequantized" },
    { historyLength: 4 },
  ),
  ...constructing(
    "Float8CurrentScaling",
    (o) => new Float8CurrentScaling(o),
    { fp8Format: "E5M2" },
    { usePower2Scales: true },
    { amaxEpsilon: 1e-6 },
    { fp8Dpa: true },
    { amaxHistoryLen: 4 },
  ),
  ...["Float8CurrentScaling", "MXFP8BlockScaling", "NVFP4BlockScaling"]
    .filter((name) => !isQuantizeRecipeSupported(name)[0])
    .map((name) => ({ row: "fp8Autocast", what: `the recipe ${name}`, attempt: () => getQuantizationRecipe(name) })),
  ...calling("updateCollections", {
    "new collections that are no object": () => updateCollections(null as never, {}),
    "original collections that are no plain object": () => updateCollections({}, new Map() as never),
  }),
  ...constructing(
    "LayerNorm",
    (o) => new LayerNorm(o),
    { layernormType: "batchnorm" },
    { layernormType: "rmsnorm", zeroCenteredGamma: true },
    { eps: 1e-5 },
  ),
  ...calling("LayerNorm", {
    "x of integers": () => new LayerNorm().init(random.key(0), x.astype("int32")),
  }),
  ...initializing(
    "DenseGeneral",
    (o) => new DenseGeneral({ features: 4, ...o }),
    [x],
    { features: 0 },
    { features: [] },
    { axis: 3 },
    { axis: [-1, 2] },
    { kernelAxes: ["a"] },
    { inputAxes: ["a"] },
    { bias: true },
  ),
  ...constructing(
    "LayerNormDenseGeneral",
    (o) => new LayerNormDenseGeneral({ features: 4, ...o }),
    { axis: 0 },
    { depthScaling: 0 },
    { layernormType: "batchnorm" },
    { layernormType: "rmsnorm", zeroCenteredGamma: true },
    { useLayernorm: false },
  ),
  ...constructing(
    "LayerNormMLP",
    (o) => new LayerNormMLP(o),
    { axis: 0 },
    { activations: ["tanhshrink"] },
    { activations: [] },
    { layernormType: "batchnorm" },
    { layernormType: "rmsnorm", zeroCenteredGamma: true },
    { hiddenDim: 8 },
  ),
  ...constructing(
    "RelativePositionBiases",
    (o) => new RelativePositionBiases(o),
    { numBuckets: 8, maxDistance: 16 },
    { numBuckets: 0, maxDistance: 16, numAttentionHeads: 2 },
  ),
  ...initializing("RelativePositionBiases", (o) => new RelativePositionBiases({ numAttentionHeads: 2, ...o }), [3, 3], {
    numBuckets: 32,
    maxDistance: 8,
  }),
  ...constructing(
    "DotProductAttention",
    (o) => new DotProductAttention({ ...heads, ...o }),
    { attnMaskType: "casual" },
    { qkvLayout: "sbhd" },
    { softmaxType: "sink" },
    { windowSize: [1.5, 0] },
    { numGqaGroups: 3 },
    { numAttentionHeads: undefined },
    { scoreMod: (x: unknown) => x },
    { scoreModBprop: (x: unknown) => x },
    { contextParallelAxis: 1 },
    { contextParallelStrategy: "tree" },
    { contextParallelCausalLoadBalanced: "yes" },
    { maxSegmentsPerSeq: 0 },
    { maskType: "causal" },
  ),
  ...calling("DotProductAttention", {
    'attnMaskType "padding" without a mask': () => attend({ attnMaskType: "padding" }, q, q, q),
    'attnBiasType "alibi"': () => attend({ attnBiasType: "alibi" }, q, q, q),
    'attnBiasType "pre_scale_bias" without a bias': () => attend({ attnBiasType: "pre_scale_bias" }, q, q, q),
    'attnBiasType "no_bias" with a bias': () => attend({ attnBiasType: "no_bias" }, q, q, q, null, zeros(1, 2, 3, 3)),
    "keys of another dtype": () => attend({}, q, q.astype("bfloat16"), q),
    "no values": () => attend({}, q, q),
    "a mask of another shape": () => attend({ attnMaskType: "padding" }, q, q, q, zeros(2, 1, 3, 5).astype("uint8")),
    "segment ids without positions": () => SequenceDescriptor.fromSegmentIdsAndPos(zeros(2, 3), undefined as never),
  }),
  ...constructing(
    "MultiHeadAttention",
    (o) => new MultiHeadAttention({ ...heads, ...o }),
    { rotaryPosEmbGroupMethod: "pairs" },
    { lowRankAdaptationScope: "everything" },
    { numGqaGroups: 3 },
    { scoreMod: (x: unknown) => x },
    { scoreModBprop: (x: unknown) => x },
    { outputLayernorm: true },
    { numHeads: 4 },
    { layernormtype: "rmsnorm" },
  ),
  ...calling("MultiHeadAttention", {
    "inputs of four axes": () => new MultiHeadAttention(heads).init(random.key(0), q, q),
    "inputs of two dtypes": () => new MultiHeadAttention(heads).init(random.key(0), x, x.astype("bfloat16")),
  }),
  ...constructing(
    "TransformerLayer",
    (o) => new TransformerLayer({ ...small, ...o }),
    { numAttentionHeads: 3 },
    { hiddenDropoutDims: [3] },
    { scoreMod: (x: unknown) => x },
    { scoreModBprop: (x: unknown) => x },
    { dropout: 0.1 },
  ),
  ...calling("TransformerLayer", {
    "inputs of another width": () => new TransformerLayer(small).init(random.key(0), zeros(2, 3, 9)),
  }),
  ...constructing("TransformerLayerType", (o) => new TransformerLayer({ ...small, ...o }), { layerType: "cross" }),
  ...calling("TransformerLayerType", {
    "a decoder without the encoder's output": () =>
      new TransformerLayer({ ...small, layerType: "decoder" }).init(random.key(0), x),
  }),
  ...calling("extendLogicalAxisRules", {
    "an item of one": () => extendLogicalAxisRules([["a"]] as never),
    "a name that is no string": () => extendLogicalAxisRules([[1, "x"]] as never),
    "a list of mesh axes": () => extendLogicalAxisRules([["a", ["x", "y"]]] as never),
    "another axis for a name of the layers": () => extendLogicalAxisRules([[BATCH_AXES, "model"]]),
    "a name of the layers twice": () =>
      extendLogicalAxisRules([
        [BATCH_AXES, null],
        [BATCH_AXES, null],
      ]),
  }),
];
