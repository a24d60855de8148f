import { type Initializer, type LayerNormType, varianceScaling, zeros } from "@te/layers";
import { type Defaults, type DType, fail, type WithDefaults, withDefaults } from "@te/tensor";
import { renamed } from "./deprecated.js";
import { type ScoreModOptions, scoreModDefaults } from "./unsupported-options.js";

/** Options of MultiHeadAttention. */
export interface MultiHeadAttentionOptions extends ScoreModOptions {
  /** Depth of a head. Required. */
  headDim: number;
  /** Number of query heads. Required, under this name or as numHeads. */
  numAttentionHeads?: number;
  /** Number of key and value heads. Default null: numAttentionHeads. */
  numGqaGroups?: number | null;
  /** Probability of dropping an attention weight, in [0, 1). Default 0. */
  attentionDropout?: number;
  /** Random stream of dropout. Default "dropout". */
  dropoutRngName?: string;
  /** Normalise the query input, in self-attention that of keys and values too. Default true. */
  inputLayernorm?: boolean;
  /** "layernorm" (default) or "rmsnorm", in any spelling. */
  layernormType?: LayerNormType;
  /** Added to the variance, or to the mean square. Default 1e-6. */
  layernormEpsilon?: number;
  /** Scale by 1 + gamma; layernorm only. Default false. */
  zeroCenteredGamma?: boolean;
  /** Also return the norm's output, or the input where there is no norm. Default false. */
  returnLayernormOutput?: boolean;
  /** Of q, k, v and out. Default varianceScaling(1, "fan_in", "normal"). */
  kernelInit?: Initializer;
  /** Add a bias to q, k, v and out. Default false. */
  useBias?: boolean;
  /** Default zeros. */
  biasInit?: Initializer;
  /** As in DotProductAttention. Default "causal". */
  attnMaskType?: string;
  /** As in DotProductAttention. Default null. */
  attnBiasType?: string | null;
  /** Turn queries and keys by their positions. Default false. */
  enableRotaryPosEmb?: boolean;
  /** Smallest and largest time scale. Default [1, 10000]. */
  rotaryPosEmbWindows?: readonly [number, number];
  /** consecutive (default) or alternate. */
  rotaryPosEmbGroupMethod?: string;
  /** none (default), all, qkv_proj, output_proj, mlp, exclude_qkv_proj, exclude_output_proj or exclude_mlp. */
  lowRankAdaptationScope?: string | null;
  /** The rank of adapters. Default 32. */
  lowRankAdaptationDim?: number;
  /** Scale adapters by alpha / rank. Default null: no scale. */
  lowRankAdaptationAlpha?: number | null;
  /** Dtype of the parameters: float32 (default), bfloat16 or float16. */
  dtype?: DType;
  /** One product for q, k and v (self-attention) or for k and v. Default true. */
  fuseQkvParams?: boolean;
  /** Inputs are [S, B, H]. Default false. */
  transposeBatchSequence?: boolean;
  /** Split the sequence of inputs and results over the tensor-parallel axis. Default false. */
  enableSequenceParallel?: boolean;
  /** Scale logits by 1 / sqrt(headDim). Default false: the query kernel's initial values carry the scale instead. */
  scaleAttnLogits?: boolean;
  /** Divide the query kernel's initial values by sqrt(headDim). Default true. */
  scaledQueryInit?: boolean;
  /** As in DotProductAttention. Default false. */
  float32Logits?: boolean;
  /** As in DotProductAttention. Default null. */
  windowSize?: readonly [number, number] | null;
  /** As in DotProductAttention. Default "vanilla". */
  softmaxType?: string;
  /** Deprecated name of numAttentionHeads. Default null. */
  numHeads?: number | null;
  /** Deprecated name of attentionDropout. Default null. */
  dropoutRate?: number | null;
  /** Removed: must be null (default). TransformerLayer has it. */
  outputLayernorm?: boolean | null;
  /** Deprecated name of returnLayernormOutput. Default null. */
  applyResidualConnectionPostLayernorm?: boolean | null;
  /** Deprecated name of fuseQkvParams. Default null. */
  fuseQkv?: boolean | null;
  /** Name among the parent's variables. */
  name?: string;
}

export const multiHeadAttentionDefaults = {
  headDim: undefined,
  numAttentionHeads: undefined,
  numGqaGroups: null,
  attentionDropout: 0,
  dropoutRngName: "dropout",
  inputLayernorm: true,
  layernormType: "layernorm",
  layernormEpsilon: 1e-6,
  zeroCenteredGamma: false,
  returnLayernormOutput: false,
  kernelInit: varianceScaling(1, "fan_in", "normal"),
  useBias: false,
  biasInit: zeros,
  attnMaskType: "causal",
  attnBiasType: null,
  enableRotaryPosEmb: false,
  rotaryPosEmbWindows: [1, 10000],
  rotaryPosEmbGroupMethod: "consecutive",
  lowRankAdaptationScope: "none",
  lowRankAdaptationDim: 32,
  lowRankAdaptationAlpha: null,
  dtype: "float32",
  fuseQkvParams: true,
  transposeBatchSequence: false,
  enableSequenceParallel: false,
  scaleAttnLogits: false,
  scaledQueryInit: true,
  float32Logits: false,
  windowSize: null,
  softmaxType: "vanilla",
  ...scoreModDefaults,
  numHeads: null,
  dropoutRate: null,
  outputLayernorm: null,
  applyResidualConnectionPostLayernorm: null,
  fuseQkv: null,
  name: undefined,
} satisfies Defaults<MultiHeadAttentionOptions>;

export type ResolvedOptions = WithDefaults<MultiHeadAttentionOptions, typeof multiHeadAttentionDefaults>;

/** The options with defaults, and with the values of deprecated names under the new ones. */
export function resolveOptions(fn: string, given: MultiHeadAttentionOptions): ResolvedOptions {
  const options = withDefaults(fn, given, multiHeadAttentionDefaults);
  if (options.outputLayernorm !== null) {
    const rule = "outputLayernorm was removed and must be left out";
    fail(
      "option",
      fn,
      rule,
      options.outputLayernorm,
      "Use outputLayernorm of TransformerLayer, or a LayerNorm after it.",
    );
  }
  const names = {
    numAttentionHeads: "numHeads",
    attentionDropout: "dropoutRate",
    returnLayernormOutput: "applyResidualConnectionPostLayernorm",
    fuseQkvParams: "fuseQkv",
  } as const;
  const values = Object.entries(names).map(([name, old]) => {
    const value = renamed<unknown>(fn, [old, given[old]], [name, given[name as keyof typeof names]]);
    return [name, value] as const;
  });
  return { ...options, ...Object.fromEntries(values.filter(([, value]) => value !== undefined)) };
}
