/** The module TransformerLayer: attention and MLP with their norms, residuals, dropout and masks. */
import { Dropout, Module, varianceScaling, warnWideInput } from "@te/layers";
import { BATCH_AXES, withShardingConstraintByLogicalAxes as constrain, HIDDEN_AXES } from "@te/sharding";
import { type Tensor, Tensor as TensorClass } from "@te/tensor";
import { expectTensor, fail, withDefaults } from "@te/tensor/op";
import { parseHeads, parseMaskType } from "./attention-options.js";
import { sequenceAxes } from "./context-parallel.js";
import { oneOf } from "./deprecated.js";
import { crossAttention, finalNorm, mlp, selfAttention } from "./layer-parts.js";
import { axesOf } from "./projections.js";
import { RelativePositionBiases } from "./relative-position-biases.js";
import type { SequenceDescriptor } from "./sequence-descriptor.js";
import {
  checkLayerOptions,
  type ResolvedLayerOptions,
  type TransformerLayerOptions,
  TransformerLayerType,
  transformerLayerDefaults,
} from "./transformer-layer-options.js";
import { MASK_CONVENTION, readMask, warnUnread } from "./unread-arguments.js";

/** Options of a call of {@link TransformerLayer}. */
export interface TransformerLayerCallOptions {
  /** No dropout. Default false. */
  deterministic?: boolean;
  /** Inputs are new tokens; keys and values of earlier ones are in the collection "cache". Default false. */
  decode?: boolean;
  /** Length of the cache, which relative position biases span. Default null: as at init. */
  maxDecodeLength?: number | null;
}

/**
 * A transformer layer: self-attention, in a decoder attention to the encoder's output, and an MLP, each with its norm and
 * residual connection.
 *
 * `call(inputs, encoded?, attentionMask?, encoderDecoderMask?, { deterministic, decode, maxDecodeLength })` with inputs
 * [B, S, hiddenSize] (sequence before batch with transposeBatchSequence), float32, bfloat16 or float16, gives the same shape
 * and dtype. A decoder needs encoded [B, Skv, ...] and its mask. Masks are [1|B, 1|h, Sq, Skv], 1 or true = hidden, or a
 * SequenceDescriptor; a selfAttnMaskType without padding, such as the default, does not read attentionMask, which is said once. With applyResidualConnectionPostLayernorm residuals are the outputs of the norms; with outputLayernorm
 * attention has no norm of its own and the result has one.
 *
 * Submodules: attention (self_attention in a decoder), encoder_decoder_attention, mlp, relpos_bias, output_layernorm.
 * decode is as in MultiHeadAttention; an encoder layer must be causal for it.
 *
 * Throws TeError: "option" for contradicting options and missing arguments, "shape" for other inputs, and what its
 * submodules throw.
 */
export class TransformerLayer extends Module {
  static override readonly name: string = "TransformerLayer";
  static readonly defaults = { ...transformerLayerDefaults };

  readonly hiddenSize: number;
  readonly numAttentionHeads: number;
  readonly layerType: TransformerLayerType;
  /** The original's checkpoints have the variables of a module without a name under this property's. */
  readonly relative_embedding: Module | null;
  private readonly options: ResolvedLayerOptions;
  protected override readonly callOptions = { deterministic: false, decode: false, maxDecodeLength: null };

  constructor(options: TransformerLayerOptions = {}) {
    super(options);
    const fn = "TransformerLayer";
    const all = withDefaults(fn, options, transformerLayerDefaults);
    const heads = oneOf(fn, ["numHeads", options.numHeads], ["numAttentionHeads", options.numAttentionHeads]);
    [this.numAttentionHeads] = parseHeads(fn, heads ?? all.numAttentionHeads, all.numGqaGroups);
    this.options = { ...all, numAttentionHeads: this.numAttentionHeads };
    checkLayerOptions(fn, this.options);
    this.hiddenSize = this.options.hiddenSize;
    this.layerType = this.options.layerType;
    this.relative_embedding = this.options.relativeEmbedding;
    if (this.relative_embedding && !this.options.enableRelativeEmbedding)
      warnUnread(
        fn,
        "relativeEmbedding",
        "as enableRelativeEmbedding is false",
        "Set it to true, or leave out the module.",
      );
  }

  override get optionsPosition(): number {
    return 4;
  }

  call(
    inputs: Tensor,
    encoded?: Tensor | null,
    attentionMask?: Tensor | SequenceDescriptor | null,
    encoderDecoderMask?: Tensor | SequenceDescriptor | null,
    { deterministic = false, decode = false, maxDecodeLength = null }: TransformerLayerCallOptions = {},
  ): Tensor {
    const { options } = this;
    this.checkCall(inputs, encoded, decode);
    this.checkDecodeLength(maxDecodeLength, decode);
    const masks = this.readMasks(attentionMask, encoderDecoderMask, decode);
    const drop = (x: Tensor): Tensor => this.hiddenDropout().call(x, { deterministic });
    const dropBranch = (x: Tensor): Tensor =>
      options.dropPath > 0 ? this.dropPath().call(drop(x), { deterministic }) : drop(x);
    const residual = (input: Tensor, normalized: Tensor | undefined): Tensor =>
      options.applyResidualConnectionPostLayernorm ? normalized! : input;

    const x = this.constrainHidden(inputs);
    const bias = this.relativeBias(x, decode, maxDecodeLength);
    const start = decode && !this.initializing ? this.cached("cache_index") : undefined;
    const attention = selfAttention(this.attentionName(), options);
    const [attended, normalized] = attention.call(x, x, masks.own, bias, { deterministic, decode });
    let hidden = dropBranch(attended).add(residual(x, normalized));
    if (this.layerType === TransformerLayerType.DECODER) {
      const cross = crossAttention(options);
      cross.queryStart = start;
      const [seen, own] = cross.call(hidden, encoded!, masks.cross, null, { deterministic });
      hidden = drop(seen).add(residual(hidden, own));
    }
    hidden = this.constrainHidden(hidden);
    const [transformed, own] = mlp(options).call(hidden, { deterministic });
    const result = this.constrainHidden(dropBranch(transformed).add(residual(hidden, own)));
    return options.outputLayernorm ? finalNorm(options).call(result) : result;
  }

  private checkCall(inputs: Tensor, encoded: Tensor | null | undefined, decode: boolean): void {
    const fn = "TransformerLayer";
    const { transposeBatchSequence, selfAttnMaskType } = this.options;
    expectTensor(fn, encoded ? { inputs, encoded } : { inputs });
    if (inputs.rank !== 3 || inputs.shape[2] !== this.hiddenSize) {
      const axes = axesOf(transposeBatchSequence, "batch", "sequence", `hiddenSize = ${this.hiddenSize}`).join(", ");
      fail("shape", fn, `inputs must have shape [${axes}]`, inputs);
    }
    warnWideInput(fn, inputs, this.options.dtype);
    if (this.layerType === TransformerLayerType.DECODER) {
      if (encoded) return;
      const wayOut = "For a decoder-only model use ENCODER with a causal mask.";
      fail("option", fn, "a DECODER needs the encoder's output as second argument", "none", wayOut);
    }
    if (encoded) {
      const wayOut = "Use DECODER to attend to it; a mask is the third argument.";
      warnUnread(fn, "encoded, the second argument,", "as layerType is ENCODER", wayOut);
    }
    if (decode && !parseMaskType(fn, selfAttnMaskType).causal) {
      const rule =
        "decode of an ENCODER layer needs a causal selfAttnMaskType: new tokens cannot change earlier results";
      fail("option", fn, rule, selfAttnMaskType, "Use causal, or padding_causal with a mask.");
    }
  }

  private checkDecodeLength(maxDecodeLength: number | null, decode: boolean): void {
    if (maxDecodeLength === null) return;
    const fn = "TransformerLayer.call";
    if (!Number.isSafeInteger(maxDecodeLength) || maxDecodeLength < 1)
      fail("option", fn, "maxDecodeLength must be an integer of at least 1, or null", maxDecodeLength);
    if (!decode) warnUnread(fn, "maxDecodeLength", "as decode is false", "Pass decode: true, or leave it out.");
  }

  /**
   * The masks of self-attention and of cross-attention that are read. Attention with a padding type needs one, but for the new
   * tokens of decoding. An ENCODER layer has no use for an encoder's output and its mask.
   */
  private readMasks(own: unknown, cross: unknown, decode: boolean) {
    const fn = "TransformerLayer";
    const { selfAttnMaskType, layerType } = this.options;
    const wayOut = `Pass a mask (${MASK_CONVENTION}) or a SequenceDescriptor.`;
    if (!own && !decode && parseMaskType(fn, selfAttnMaskType).padding)
      fail("option", fn, `selfAttnMaskType "${selfAttnMaskType}" needs an attentionMask`, "none", wayOut);
    const decoder = layerType === TransformerLayerType.DECODER;
    if (decoder && !cross) fail("option", fn, "a DECODER needs an encoderDecoderMask", "none", wayOut);
    if (!decoder && cross)
      warnUnread(fn, "encoderDecoderMask", "as layerType is ENCODER", "attentionMask, the third argument, hides keys.");
    return {
      own: readMask(fn, { argument: ["attentionMask", own], option: ["selfAttnMaskType", selfAttnMaskType] }),
      cross: decoder
        ? readMask(fn, { argument: ["encoderDecoderMask", cross], option: ["the mask type", "padding"] })
        : undefined,
    };
  }

  private constrainHidden(x: Tensor): Tensor {
    const { between } = sequenceAxes(this.options);
    return constrain(x, axesOf(this.options.transposeBatchSequence, BATCH_AXES, between, HIDDEN_AXES));
  }

  /** [1, heads, L, L] over the inputs' length, in decoding the cache's; undefined when relative embedding is off. */
  private relativeBias(x: Tensor, decode: boolean, maxDecodeLength: number | null): Tensor | undefined {
    const { enableRelativeEmbedding, dtype } = this.options;
    if (!enableRelativeEmbedding) return undefined;
    const count = x.shape[this.sequenceAxis]!;
    const length = decode ? (maxDecodeLength ?? this.cached("cached_key")?.shape[this.sequenceAxis] ?? count) : count;
    const module = this.relative_embedding ?? this.builtInBiases(dtype);
    const bias = module.call(length, length, {
      bidirectional: this.layerType === TransformerLayerType.ENCODER,
    }) as Tensor;
    const whole = [...Array(Math.max(0, 4 - bias.rank)).fill(1), ...bias.shape];
    const [batch, heads] = whole as [number, number];
    return bias.reshape(whole).broadcastTo([batch, heads, length, length]);
  }

  private builtInBiases(dtype: ResolvedLayerOptions["dtype"]): RelativePositionBiases {
    return new RelativePositionBiases({
      name: "relpos_bias",
      numBuckets: 32,
      maxDistance: 128,
      numAttentionHeads: this.numAttentionHeads,
      dtype,
      embeddingInit: varianceScaling(1, "fan_avg", "uniform"),
      embeddingAxes: ["heads", "relpos_buckets"],
    });
  }

  private attentionName(): string {
    return this.layerType === TransformerLayerType.DECODER ? "self_attention" : "attention";
  }

  private get sequenceAxis(): 0 | 1 {
    return this.options.transposeBatchSequence ? 0 : 1;
  }

  /** A variable of the cache of self-attention. */
  private cached(name: "cached_key" | "cache_index"): Tensor | undefined {
    const found = this.scope.find("cache", this.attentionName(), name);
    return found instanceof TensorClass ? found : undefined; // Attention says what is wrong with another.
  }

  /** One per use: random keys come from the path, which counts them. */
  private hiddenDropout(): Dropout {
    const { hiddenDropout: rate, hiddenDropoutDims: broadcastDims, dropoutRngName: rngName } = this.options;
    return new Dropout({ rate, broadcastDims, rngName });
  }

  /** Drops the whole branch of a sample. */
  private dropPath(): Dropout {
    const { dropPath: rate, dropoutRngName: rngName } = this.options;
    return new Dropout({ rate, broadcastDims: [this.sequenceAxis, 2], rngName });
  }
}
