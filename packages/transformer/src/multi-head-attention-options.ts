/** Options of MultiHeadAttention, their defaults, and deprecated names that stand for others. */
import { type Initializer, varianceScaling } from "@te/layers";
import { type Defaults, fail, type WithDefaults, withDefaults } from "@te/tensor/op";
import { type AttentionBlockOptions, attentionBlockDefaults } from "./attention-block-options.js";
import { renamed } from "./deprecated.js";

/** Options of MultiHeadAttention. */
export interface MultiHeadAttentionOptions extends AttentionBlockOptions {
  /** Depth of a head. Required. */
  headDim: number;
  /** Number of query heads. Required, under this name or as numHeads. */
  numAttentionHeads?: number;
  /** Probability of dropping an attention weight, in [0, 1). Default 0. */
  attentionDropout?: number;
  /** Normalise the query input, in self-attention that of keys and values too. Default true. */
  inputLayernorm?: boolean;
  /** Also return the norm's output, or the input where there is no norm. Default false. */
  returnLayernormOutput?: boolean;
  /** Of q, k, v and out. Default varianceScaling(1, "fan_in", "normal"). */
  kernelInit?: Initializer;
  /** As in DotProductAttention. Default "causal". */
  attnMaskType?: string;
  /** As in DotProductAttention. Default null. */
  attnBiasType?: string | null;
  /** Split the sequence of inputs and results over the tensor-parallel axis. Default false. */
  enableSequenceParallel?: boolean;
  /** As in DotProductAttention. Default false. */
  float32Logits?: boolean;
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
  attentionDropout: 0,
  inputLayernorm: true,
  returnLayernormOutput: false,
  kernelInit: varianceScaling(1, "fan_in", "normal"),
  attnMaskType: "causal",
  attnBiasType: null,
  enableSequenceParallel: false,
  float32Logits: false,
  ...attentionBlockDefaults,
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
  // Checks the values of deprecated names as what they stand for.
  return withDefaults(fn, { ...options, ...Object.fromEntries(values) }, multiHeadAttentionDefaults);
}
