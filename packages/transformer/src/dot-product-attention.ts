import { Module, zeros } from "@te/layers";
import { HEAD_AXES } from "@te/sharding";
import { TeError, type Tensor } from "@te/tensor";
import {
  type MaskType,
  parseMaskType,
  parseQkvLayout,
  parseSoftmaxType,
  parseWindow,
  type QkvLayout,
  resolveBiasType,
  type SoftmaxType,
} from "./attention-options.js";
import { attentionOp } from "./ops/attention.js";
import { SequenceDescriptor } from "./sequence-descriptor.js";

export interface DotProductAttentionOptions {
  headDim: number;
  /** Number of query heads. */
  numAttentionHeads?: number;
  /** Another name of numAttentionHeads. */
  numHeads?: number;
  /** Number of key and value heads; default numAttentionHeads. Query head n reads group floor(n / (heads / groups)). */
  numGqaGroups?: number;
  /** Probability of dropping an attention weight. Default 0. */
  attentionDropout?: number;
  /** no_mask, padding, causal, padding_causal, causal_bottom_right or padding_causal_bottom_right. Default causal. */
  attnMaskType?: string;
  /** no_bias, pre_scale_bias or post_scale_bias; default by whether a bias is given (then post_scale_bias). */
  attnBiasType?: string;
  dropoutRngName?: string;
  /** Compute the logits from float32 queries and keys. The kernels always do; kept for the reference's rounding. */
  float32Logits?: boolean;
  /** bshd_bshd_bshd (default), bshd_bs2hd or bs3hd. */
  qkvLayout?: string;
  /** Default 1 / sqrt(headDim). */
  scaleFactor?: number;
  /** Sequence before batch in every operand but mask and bias. Default false. */
  transposeBatchSequence?: boolean;
  /** Keys [i - left, i + right] are visible; a negative side is unbounded. */
  windowSize?: readonly [number, number] | null;
  /** vanilla (default), off_by_one (one more logit of 0 in the denominator) or learnable (one per head). */
  softmaxType?: string;
  name?: string;
}

export interface AttentionCallOptions {
  /** No dropout. Default false. */
  deterministic?: boolean;
}

const PACKING = { bs3hd: "qkv", bshd_bs2hd: "kv", bshd_bshd_bshd: "none" } as const;

/**
 * softmax(scale * q·kᵀ + bias) · v with masks, grouped heads, windows and dropout.
 *
 * `call(query, key, value, mask?, bias?, { deterministic })` with query [B, Sq, h, d], key and value [B, Skv, g, d]; packed
 * layouts put everything in the first ([B, S, 3, h, d]) or second ([B, S, 2, g, d]) argument. `mask` is [1|B, 1|h, Sq,
 * Skv] of uint8 or bool, 1 = masked out (used by padding types), or a SequenceDescriptor. bias is [1|B, 1|h, Sq, Skv].
 * The result is [B, Sq, h, d] in the dtype of query. A query that sees no key gives zeros. Parameter, for
 * learnable softmax only: _UnfusedDotProductAttention_0/softmax_offset [1, h, 1, 1] float32.
 */
export class DotProductAttention extends Module {
  readonly headDim: number;
  readonly numAttentionHeads: number;
  readonly numGqaGroups: number;
  private readonly maskType: MaskType;
  private readonly layout: QkvLayout;
  private readonly softmaxType: SoftmaxType;
  private readonly window: { windowLeft: number; windowRight: number };

  constructor(private readonly options: DotProductAttentionOptions) {
    super(options);
    const fn = "DotProductAttention";
    const heads = options.numAttentionHeads ?? options.numHeads;
    if (heads === undefined) throw new TeError("option", `${fn}: numAttentionHeads is required.`);
    this.headDim = options.headDim;
    this.numAttentionHeads = heads;
    this.numGqaGroups = options.numGqaGroups ?? heads;
    checkGroups(fn, heads, this.numGqaGroups);
    this.maskType = parseMaskType(fn, options.attnMaskType ?? "causal");
    this.layout = parseQkvLayout(fn, options.qkvLayout ?? "bshd_bshd_bshd");
    this.softmaxType = parseSoftmaxType(fn, options.softmaxType ?? "vanilla");
    this.window = parseWindow(fn, options.windowSize);
  }

  protected override get optionsPosition(): number {
    return 5;
  }

  call(
    query: Tensor,
    key?: Tensor | null,
    value?: Tensor | null,
    mask?: Tensor | SequenceDescriptor | null,
    bias?: Tensor | null,
    { deterministic = false }: AttentionCallOptions = {},
  ): Tensor {
    const { options, maskType } = this;
    const fn = "DotProductAttention";
    const { attentionDropout = 0, float32Logits = false, transposeBatchSequence = false } = options;
    if (maskType.padding && !mask) {
      throw new TeError(
        "option",
        `${fn}: attnMaskType "${options.attnMaskType}" needs a mask (1 = masked out) or a SequenceDescriptor, got none.`,
      );
    }
    const biasType = resolveBiasType(fn, options.attnBiasType, Boolean(bias));
    const dropout = deterministic ? 0 : attentionDropout;
    const sequences = maskType.padding ? this.visibility(mask!, query, key) : {};
    const { out } = attentionOp(
      {
        q: query,
        ...(this.layout !== "bs3hd" && { k: key ?? undefined }),
        ...(this.layout === "bshd_bshd_bshd" && { v: value ?? undefined }),
        ...(bias && { bias: bias.dtype === query.dtype ? bias : bias.astype(query.dtype) }),
        ...sequences,
        ...(this.softmaxType === "learnable" && { sink: this.sink() }),
        ...(dropout > 0 && { key: this.makeRng(options.dropoutRngName ?? "dropout") }),
      },
      {
        layout: transposeBatchSequence ? "sbhd" : "bshd",
        packing: PACKING[this.layout],
        scale: options.scaleFactor ?? 1 / Math.sqrt(this.headDim),
        causal: maskType.causal,
        bottomRight: maskType.bottomRight,
        ...this.window,
        biasType: biasType === "no_bias" ? "none" : biasType === "pre_scale_bias" ? "pre_scale" : "post_scale",
        softmaxType: this.softmaxType,
        dropout,
        float32Logits,
      },
    );
    return out;
  }

  private sink(): Tensor {
    return new SoftmaxOffset({ name: "_UnfusedDotProductAttention_0" }).call(this.numAttentionHeads);
  }

  private visibility(mask: Tensor | SequenceDescriptor, query: Tensor, key: Tensor | null | undefined) {
    if (!(mask instanceof SequenceDescriptor)) return { mask };
    const at = this.options.transposeBatchSequence ? 0 : 1;
    return mask.operands(query.shape[at]!, (this.layout === "bs3hd" ? query : key!).shape[at]!);
  }
}

/** Holds the parameter of learnable softmax under the path that checkpoints of the original have it at. */
class SoftmaxOffset extends Module {
  call(heads: number): Tensor {
    return this.param("softmax_offset", zeros, [1, heads, 1, 1], { axes: [null, HEAD_AXES, null, null] }).reshape([
      heads,
    ]);
  }
}

export function checkGroups(fn: string, heads: number, groups: number): void {
  if (!Number.isInteger(groups) || groups < 1 || heads % groups !== 0) {
    throw new TeError(
      "option",
      `${fn}: numAttentionHeads must be a multiple of numGqaGroups, got ${heads} and ${groups}.`,
    );
  }
}
