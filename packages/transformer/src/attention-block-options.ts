/** Options that MultiHeadAttention has and TransformerLayer hands to its attentions. */
import {
  checkLora,
  checkName,
  checkNorm,
  checkParameterDType,
  type Initializer,
  type LayerNormType,
  zeros,
} from "@te/layers";
import type { DType } from "@te/tensor";
import type { Defaults, WithDefaults } from "@te/tensor/op";
import { checkRopeWindows, parseRopeMethod, parseSoftmaxType, parseWindow } from "./attention-options.js";
import { type ContextParallelOptions, contextParallelDefaults, parseContextParallel } from "./context-parallel.js";
import { parseLoraScope } from "./lora-scope.js";
import { warnUnread } from "./unread-arguments.js";
import { refuseScoreMod, type ScoreModOptions, scoreModDefaults } from "./unsupported-options.js";

export interface AttentionBlockOptions extends ContextParallelOptions, ScoreModOptions {
  /** Number of key and value heads. Default null: numAttentionHeads. */
  numGqaGroups?: number | null;
  /** "layernorm" (default) or "rmsnorm", in any spelling. */
  layernormType?: LayerNormType;
  /** Added to the variance, or to the mean square. Default 1e-6. */
  layernormEpsilon?: number;
  /** Scale by 1 + gamma; layernorm only. Default false. */
  zeroCenteredGamma?: boolean;
  /** Random stream of every dropout. Default "dropout". */
  dropoutRngName?: string;
  /** Add a bias to every product. Default false. */
  useBias?: boolean;
  /** Default zeros. */
  biasInit?: Initializer;
  /** Turn queries and keys by their positions, in cross-attention too. Default false. */
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
  /** Scale logits by 1 / sqrt(headDim). Default false: the query kernel's initial values carry the scale instead. */
  scaleAttnLogits?: boolean;
  /** Divide the query kernel's initial values by sqrt(headDim). Default true. */
  scaledQueryInit?: boolean;
  /** As in DotProductAttention. Default null. */
  windowSize?: readonly [number, number] | null;
  /** As in DotProductAttention. Default "vanilla". */
  softmaxType?: string;
}

export const attentionBlockDefaults = {
  numGqaGroups: null,
  layernormType: "layernorm",
  layernormEpsilon: 1e-6,
  zeroCenteredGamma: false,
  dropoutRngName: "dropout",
  useBias: false,
  biasInit: zeros,
  enableRotaryPosEmb: false,
  rotaryPosEmbWindows: [1, 10000],
  rotaryPosEmbGroupMethod: "consecutive",
  lowRankAdaptationScope: "none",
  lowRankAdaptationDim: 32,
  lowRankAdaptationAlpha: null,
  dtype: "float32",
  fuseQkvParams: true,
  transposeBatchSequence: false,
  scaleAttnLogits: false,
  scaledQueryInit: true,
  windowSize: null,
  softmaxType: "vanilla",
  ...contextParallelDefaults,
  ...scoreModDefaults,
} satisfies Defaults<AttentionBlockOptions>;

type AttentionBlock = WithDefaults<AttentionBlockOptions, typeof attentionBlockDefaults>;

/** These options of a module that has more. */
export function attentionBlockOptions(options: AttentionBlock): AttentionBlock {
  const names = Object.keys(attentionBlockDefaults) as (keyof AttentionBlock)[];
  return Object.fromEntries(names.map((name) => [name, options[name]])) as unknown as AttentionBlock;
}

/** Throws where one of these options is not what it must be. The module that was given them says so, by the names given. */
export function checkAttentionBlock(fn: string, options: AttentionBlock): void {
  checkNorm(fn, { ...options, epsilon: options.layernormEpsilon }, "layernormEpsilon");
  checkName(fn, "dropoutRngName", options.dropoutRngName);
  parseRopeMethod(fn, options.rotaryPosEmbGroupMethod);
  checkRopeWindows(fn, options.rotaryPosEmbWindows);
  parseLoraScope(fn, options.lowRankAdaptationScope);
  checkLora(fn, options);
  checkParameterDType(fn, options.dtype);
  parseWindow(fn, options.windowSize);
  parseSoftmaxType(fn, options.softmaxType);
  parseContextParallel(fn, options);
  refuseScoreMod(fn, options);
  warnOfUnread(fn, options);
}

/** Options that are of use only while another one is on, as [option, of use, the other]. */
function warnOfUnread(fn: string, options: AttentionBlock): void {
  const lora = parseLoraScope(fn, options.lowRankAdaptationScope) !== "none";
  const rotary = [options.enableRotaryPosEmb, "enableRotaryPosEmb is false", "Set it to true"] as const;
  const adapters = [lora, 'lowRankAdaptationScope is "none"', "Name a scope, such as all"] as const;
  const dependents = {
    rotaryPosEmbWindows: rotary,
    rotaryPosEmbGroupMethod: rotary,
    lowRankAdaptationDim: adapters,
    lowRankAdaptationAlpha: adapters,
  };
  for (const [name, [used, why, wayOut]] of Object.entries(dependents)) {
    const key = name as keyof typeof dependents;
    if (!used && String(options[key]) !== String(attentionBlockDefaults[key]))
      warnUnread(fn, name, `as ${why}`, `${wayOut}, or leave ${name} out.`, name);
  }
}
