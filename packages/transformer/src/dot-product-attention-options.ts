/** Options of DotProductAttention and their defaults. */
import type { DType } from "@te/tensor";
import type { Defaults, WithDefaults } from "@te/tensor/op";
import { type ContextParallelOptions, contextParallelDefaults } from "./context-parallel.js";
import { type ScoreModOptions, scoreModDefaults } from "./unsupported-options.js";

/** Options of DotProductAttention. */
export interface DotProductAttentionOptions extends ContextParallelOptions, ScoreModOptions {
  /** Depth of a query and key head. Required. Values may have another depth when they are a tensor of their own. */
  headDim: number;
  /** Number of query heads. Required, under this name or as numHeads. */
  numAttentionHeads?: number;
  /** Another name of numAttentionHeads. */
  numHeads?: number;
  /** Number of key and value heads. Default null: numAttentionHeads. Query head n reads group floor(n / (heads / groups)). */
  numGqaGroups?: number | null;
  /** Probability of dropping an attention weight, in [0, 1). Default 0. */
  attentionDropout?: number;
  /** no_mask, padding, causal (default), padding_causal, causal_bottom_right or padding_causal_bottom_right. */
  attnMaskType?: string;
  /** no_bias, pre_scale_bias or post_scale_bias. Default null: post_scale_bias when a bias is given, else no_bias. */
  attnBiasType?: string | null;
  /** Deprecated: the dtype of the inputs, which decides, and which it must equal. Default null. */
  dtype?: DType | null;
  /** Random stream of dropout. Default "dropout". */
  dropoutRngName?: string;
  /** Compute the logits from float32 queries and keys. Default false. Kernels always do; this is for the reference. */
  float32Logits?: boolean;
  /**
   * Where q, k and v lie. bs3hd: all in query; bshd_bs2hd: k and v in key; bshd_bshd_bshd (default): apart; t3hd, thd_t2hd
   * and thd_thd_thd: the same for sequences that are packed into rows, which a SequenceDescriptor of segments tells apart.
   */
  qkvLayout?: string;
  /** Default null: 1 / sqrt(headDim). */
  scaleFactor?: number | null;
  /** Sequence before batch in query, key, value and result, but not in mask and bias. Default false. */
  transposeBatchSequence?: boolean;
  /** Keys [i - left, i + right] are visible; a negative side is unbounded. Default null: no window. */
  windowSize?: readonly [number, number] | null;
  /** Upper bound of segments in a row of packed sequences, for callers that have one; any number works. Default 1. */
  maxSegmentsPerSeq?: number;
  /** Name by which checkpoint policies know the result and its log-sum-exp. Default "context". */
  contextCheckpointName?: string;
  /** vanilla (default), off_by_one (one more logit of 0 in the denominator) or learnable (one per head). */
  softmaxType?: string;
  /** Name among the parent's variables. */
  name?: string;
}

/** Options of a call of {@link DotProductAttention}. */
export const dotProductAttentionDefaults = {
  headDim: undefined,
  numAttentionHeads: undefined,
  numHeads: undefined,
  numGqaGroups: null,
  attentionDropout: 0,
  attnMaskType: "causal",
  attnBiasType: null,
  dtype: null,
  dropoutRngName: "dropout",
  float32Logits: false,
  qkvLayout: "bshd_bshd_bshd",
  scaleFactor: null,
  transposeBatchSequence: false,
  windowSize: null,
  maxSegmentsPerSeq: 1,
  ...contextParallelDefaults,
  contextCheckpointName: "context",
  softmaxType: "vanilla",
  ...scoreModDefaults,
  name: undefined,
} satisfies Defaults<DotProductAttentionOptions>;

export type ResolvedAttentionOptions = WithDefaults<DotProductAttentionOptions, typeof dotProductAttentionDefaults>;
