/** The module DotProductAttention: from its arguments and options to the operands of the op `attention`. */
import { checkName, Module, zeros } from "@te/layers";
import { HEAD_AXES } from "@te/sharding";
import type { Tensor } from "@te/tensor";
import { expectTensor, fail, warnOnce, withDefaults } from "@te/tensor/op";
import {
  type BiasType,
  checkAttentionDropout,
  checkHeadDim,
  type MaskType,
  parseBiasType,
  parseHeads,
  parseMaskType,
  parseQkvLayout,
  parseSoftmaxType,
  parseWindow,
  QKV_LAYOUTS,
  type QkvLayout,
  resolveBiasType,
  type SoftmaxType,
} from "./attention-options.js";
import { contextAxis, parseContextParallel, readContext, splitSequence } from "./context-parallel.js";
import { oneOf, warnDeprecated } from "./deprecated.js";
import {
  type DotProductAttentionOptions,
  dotProductAttentionDefaults,
  type ResolvedAttentionOptions,
} from "./dot-product-attention-options.js";
import { namedAttention } from "./ops/attention.js";
import { ATTENTION_DEFAULTS } from "./ops/attention-problem.js";
import { contextMethod } from "./ops/context-attention.js";
import { SequenceDescriptor } from "./sequence-descriptor.js";
import { MASK_CONVENTION, readMask, warnUnread } from "./unread-arguments.js";
import { refuseScoreMod } from "./unsupported-options.js";

/** Options of a call of {@link DotProductAttention}. */
export interface AttentionCallOptions {
  /** No dropout. Default false. */
  deterministic?: boolean;
  /** Deprecated: the mask as an option. Default null: pass it, or a SequenceDescriptor, as fourth argument. */
  mask?: Tensor | null;
}

/**
 * softmax(scale * q·kᵀ + bias) · v with masks, grouped heads, windows and dropout.
 *
 * `call(query, key, value, sequenceDescriptor?, bias?, { deterministic })` with query [B, Sq, h, d], key [B, Skv, g, d] and value
 * [B, Skv, g, dv] of one dtype: float32, bfloat16 or float16. Packed layouts put everything in the first ([B, S, 3, h, d])
 * or second ([B, S, 2, g, d]) argument. `sequenceDescriptor`, for padding types, is a mask of uint8 or bool [1|B, 1|h, 1|Sq, Skv],
 * 1 or true = hidden, or a SequenceDescriptor; other types do not read it, which is said once. bias is [1|B, 1|h, Sq, Skv]. The result is [B, Sq, h, dv] in the dtype of query;
 * a query that sees no key gives zeros, and what is masked out reaches no result and no gradient, NaN included. A bias of
 * -inf hides its key as a mask does. A finite one does not, however low: a row of -1e9 alone is weighted as one of 0, and NaN
 * and infinities in a value reach every query that sees it, also where the weight is too small for float32. Causal
 * masks and windows count in indices, or in the positions inside segments; bottom-right types shift queries so that the
 * last one of the row, or of the segment, meets the last key.
 *
 * Parameter, for learnable softmax only: _UnfusedDotProductAttention_0/softmax_offset [1, h, 1, 1] float32. The logits are
 * not kept: a checkpoint policy can name the result (contextCheckpointName), not them.
 *
 * Throws TeError: "option" for strings that are none of those above and for masks and biases that do not go with their
 * type, "shape" and "dtype" for operands that do not go together, "unsupported" for scoreMod.
 *
 * Over a context-parallel axis (MeshResource.cpResource) of several devices the sequence of query, key, value and result is
 * split: attnMaskType no_mask or causal, or padding_causal with packed sequences (thd), whose windows and positions work too.
 * "unsupported" are packed q, k and v, biases, dropout, other softmax types and windows without packed sequences, "shape" is
 * a sequence that the devices do not divide.
 */
export class DotProductAttention extends Module {
  static override readonly name: string = "DotProductAttention";
  static readonly defaults = { ...dotProductAttentionDefaults };

  readonly headDim: number;
  readonly numAttentionHeads: number;
  readonly numGqaGroups: number;
  private readonly options: ResolvedAttentionOptions;
  private readonly maskType: MaskType;
  private readonly biasType: BiasType | null;
  private readonly layout: QkvLayout;
  private readonly softmaxType: SoftmaxType;
  private readonly window: { windowLeft: number; windowRight: number };
  protected override readonly callOptions = { deterministic: false, mask: null };

  constructor(options: DotProductAttentionOptions) {
    super(options);
    const fn = "DotProductAttention";
    this.options = withDefaults(fn, options, DotProductAttention.defaults);
    const { numHeads, numAttentionHeads, numGqaGroups } = this.options;
    const heads = oneOf(fn, ["numHeads", numHeads], ["numAttentionHeads", numAttentionHeads]);
    [this.numAttentionHeads, this.numGqaGroups] = parseHeads(fn, heads, numGqaGroups);
    checkHeadDim(fn, options.headDim);
    this.headDim = options.headDim;
    this.maskType = parseMaskType(fn, this.options.attnMaskType);
    this.biasType = parseBiasType(fn, this.options.attnBiasType);
    this.layout = parseQkvLayout(fn, this.options.qkvLayout);
    this.softmaxType = parseSoftmaxType(fn, this.options.softmaxType);
    this.window = parseWindow(fn, this.options.windowSize);
    checkAttentionDropout(fn, this.options.attentionDropout);
    checkName(fn, "dropoutRngName", this.options.dropoutRngName);
    parseContextParallel(fn, this.options);
    refuseScoreMod(fn, this.options);
    this.checkLayout(fn);
  }

  override get optionsPosition(): number {
    return 5;
  }

  call(
    query: Tensor,
    key?: Tensor | null,
    value?: Tensor | null,
    sequenceDescriptor?: Tensor | SequenceDescriptor | null,
    bias?: Tensor | null,
    { deterministic = false, mask = null }: AttentionCallOptions = {},
  ): Tensor {
    const { options, maskType, softmaxType } = this;
    const { packing } = QKV_LAYOUTS[this.layout];
    const fn = "DotProductAttention";
    const operands = Object.entries({ query, key, value, bias }).filter(([, t]) => t !== undefined && t !== null);
    this.checkPacked(fn, { key, value });
    expectTensor(fn, { query, ...Object.fromEntries(operands) });
    const hidden = this.maskOf(fn, sequenceDescriptor, mask);
    this.checkDType(fn, query);
    const biasType = resolveBiasType(fn, this.biasType, Boolean(bias));
    const dropout = deterministic ? 0 : options.attentionDropout;
    const described = hidden instanceof SequenceDescriptor;
    const axis = contextAxis(options);
    const context = axis === undefined ? undefined : this.contextOf(axis, { query, key, hidden, bias, dropout });
    const split = (x: Tensor): Tensor =>
      axis === undefined ? x : splitSequence(x, axis, options.transposeBatchSequence);
    const out = namedAttention(
      {
        q: split(query),
        ...(packing !== "qkv" && { k: key ? split(key) : undefined }),
        ...(packing === "none" && { v: value ? split(value) : undefined }),
        ...(bias && { bias: bias.dtype === query.dtype ? bias : bias.astype(query.dtype) }),
        ...(described ? this.sequencesOf(hidden, query, key) : hidden && { mask: hidden }),
        ...(softmaxType === "learnable" && { sink: this.sink() }),
        ...(dropout > 0 && { key: this.makeRng(options.dropoutRngName) }),
      },
      {
        ...ATTENTION_DEFAULTS,
        layout: options.transposeBatchSequence ? "sbhd" : "bshd",
        packing,
        scale: options.scaleFactor ?? 1 / Math.sqrt(this.headDim),
        causal: maskType.causal,
        bottomRight: maskType.bottomRight && !described, // a descriptor has it in its positions
        ...this.window,
        biasType: biasType === "no_bias" ? "none" : biasType === "pre_scale_bias" ? "pre_scale" : "post_scale",
        softmaxType,
        dropout,
        float32Logits: options.float32Logits,
      },
      options.contextCheckpointName,
      context && contextMethod(context),
    );
    return split(out);
  }

  /** How attention is computed over an axis that splits the sequence. Throws for what it does not have there. */
  private contextOf(
    axis: string,
    given: Readonly<{
      query: Tensor;
      key: Tensor | null | undefined;
      hidden: Tensor | SequenceDescriptor | undefined;
      bias: Tensor | null | undefined;
      dropout: number;
    }>,
  ) {
    const { options, maskType, softmaxType, window } = this;
    const { packing, sequences } = QKV_LAYOUTS[this.layout];
    const at = options.transposeBatchSequence ? 0 : 1;
    return readContext("DotProductAttention", axis, options, {
      maskType,
      isPackedQkv: packing === "qkv",
      isThd: sequences,
      isPlaced: given.hidden instanceof SequenceDescriptor && given.hidden.placed,
      hasBias: Boolean(given.bias),
      hasWindow: window.windowLeft >= 0 || window.windowRight >= 0,
      dropout: given.dropout,
      softmaxType,
      maxSegmentsPerSeq: options.maxSegmentsPerSeq,
      lengths: [given.query.shape[at]!, (given.key ?? given.query).shape[at]!],
    });
  }

  private checkLayout(fn: string): void {
    const { qkvLayout, attnMaskType, maxSegmentsPerSeq, dtype } = this.options;
    const { packing, sequences } = QKV_LAYOUTS[this.layout];
    if (packing === "qkv" && this.numGqaGroups !== this.numAttentionHeads) {
      const wayOut = "Use bshd_bs2hd or bshd_bshd_bshd for grouped heads.";
      fail("option", fn, `qkvLayout ${qkvLayout} needs as many groups as heads`, this.numGqaGroups, wayOut);
    }
    if (sequences && !this.maskType.padding) {
      const rule = `qkvLayout ${qkvLayout} holds packed sequences and needs a padding type as attnMaskType`;
      fail("option", fn, rule, attnMaskType, "Use padding, padding_causal or padding_causal_bottom_right.");
    }
    if (!Number.isInteger(maxSegmentsPerSeq) || maxSegmentsPerSeq < 1)
      fail("option", fn, "maxSegmentsPerSeq must be an integer of at least 1", maxSegmentsPerSeq);
    if (maxSegmentsPerSeq > 1 && !sequences)
      warnOnce(`${fn}: maxSegmentsPerSeq is for packed sequences (thd) and means nothing with qkvLayout ${qkvLayout}`);
    if (dtype !== null) warnDeprecated(`${fn}: the option dtype`, "The dtype of the inputs decides.");
  }

  /** A packed layout has keys and values in the first or second argument. */
  private checkPacked(fn: string, given: Readonly<Record<"key" | "value", Tensor | null | undefined>>): void {
    const unread = { none: [], kv: ["value"], qkv: ["key", "value"] } as const;
    for (const name of unread[QKV_LAYOUTS[this.layout].packing])
      if (given[name])
        warnUnread(fn, name, `as qkvLayout is ${this.layout}, which packs it`, "Pass null, or use bshd_bshd_bshd.");
  }

  /** What hides keys: the mask or descriptor that a padding type needs and other types leave alone. */
  private maskOf(fn: string, sequences: Tensor | SequenceDescriptor | null | undefined, mask: Tensor | null) {
    const { attnMaskType, qkvLayout, maxSegmentsPerSeq } = this.options;
    if (mask) {
      if (sequences)
        fail("option", fn, "sequenceDescriptor and the deprecated option mask are two ways to say one thing", "both");
      warnDeprecated(`${fn}: the call option mask`, "Pass it, or a SequenceDescriptor, as fourth argument.");
    }
    const name = sequences ? "sequenceDescriptor" : "mask";
    const given = readMask(fn, { argument: [name, sequences ?? mask], option: ["attnMaskType", attnMaskType] });
    if (!this.maskType.padding) return undefined;
    if (!given) {
      const wayOut = `Pass one as fourth argument; ${MASK_CONVENTION}.`;
      fail("option", fn, `attnMaskType "${attnMaskType}" needs a mask or a SequenceDescriptor`, "none", wayOut);
    }
    const described = given instanceof SequenceDescriptor;
    if (!described && maxSegmentsPerSeq !== 1)
      fail("option", fn, "a mask array describes one segment, so that maxSegmentsPerSeq must be 1", maxSegmentsPerSeq);
    if (QKV_LAYOUTS[this.layout].sequences && !(described && given.packed)) {
      const wayOut = "Use SequenceDescriptor.fromSegmentIdsAndPos or fromSeqlensAndOffsets.";
      const got = described ? "lengths" : given;
      fail("option", fn, `qkvLayout ${qkvLayout} needs a SequenceDescriptor of segments`, got, wayOut);
    }
    return given;
  }

  private checkDType(fn: string, query: Tensor): void {
    const { dtype } = this.options;
    if (dtype !== null && dtype !== query.dtype)
      fail("dtype", fn, `query must have the dtype that the deprecated option dtype names, ${dtype}`, query);
  }

  private sequencesOf(descriptor: SequenceDescriptor, query: Tensor, key: Tensor | null | undefined) {
    const at = this.options.transposeBatchSequence ? 0 : 1;
    const queries = query.shape[at]!;
    const keys = QKV_LAYOUTS[this.layout].packing === "qkv" ? queries : (key?.shape[at] ?? queries);
    return descriptor.operands({ queries, keys, bottomRight: this.maskType.bottomRight });
  }

  private sink(): Tensor {
    return new SoftmaxOffset({ name: "_UnfusedDotProductAttention_0" }).call(this.numAttentionHeads);
  }
}

/** Holds the parameter of learnable softmax under the path that checkpoints of the original have it at. */
class SoftmaxOffset extends Module {
  static override readonly name: string = "SoftmaxOffset";

  call(heads: number): Tensor {
    return this.param("softmax_offset", zeros, [1, heads, 1, 1], { axes: [null, HEAD_AXES, null, null] }).reshape([
      heads,
    ]);
  }
}
