import {
  Dropout,
  type Initializer,
  LayerNorm,
  LayerNormMLP,
  type LayerNormType,
  Module,
  varianceScaling,
} from "@te/layers";
import {
  BATCH_AXES,
  withShardingConstraintByLogicalAxes as constrain,
  HIDDEN_AXES,
  HIDDEN_TP_AXES,
  SEQLEN_AXES,
  SEQLEN_TP_AXES,
  W_FSDP_AXES,
  W_JOINED_AXES,
  W_NO_SHARD_AXES,
  W_TP_AXES,
} from "@te/sharding";
import { type DType, dynamicSlice, TeError, type Tensor, zeros } from "@te/tensor";
import { loraUses, parseLoraScope } from "./lora-scope.js";
import { MultiHeadAttention, type MultiHeadAttentionOptions } from "./multi-head-attention.js";
import { RelativePositionBiases } from "./relative-position-biases.js";
import type { SequenceDescriptor } from "./sequence-descriptor.js";

/** An encoder layer attends to its input; a decoder layer also to the encoder's output. */
export const TransformerLayerType = { ENCODER: "encoder", DECODER: "decoder" } as const;
export type TransformerLayerType = (typeof TransformerLayerType)[keyof typeof TransformerLayerType];

export interface TransformerLayerOptions {
  hiddenSize?: number;
  mlpHiddenSize?: number;
  numAttentionHeads?: number;
  /** Another name of numAttentionHeads. */
  numHeads?: number;
  numGqaGroups?: number;
  layernormType?: LayerNormType;
  layernormEpsilon?: number;
  zeroCenteredGamma?: boolean;
  /** Dropout after attention and after the MLP. Default 0.1. */
  hiddenDropout?: number;
  /** Axes along which the hidden dropout mask is shared. */
  hiddenDropoutDims?: readonly number[];
  /** Default 0.1. */
  attentionDropout?: number;
  /** Dropout inside the MLP. Default 0. */
  intermediateDropout?: number;
  intermediateDropoutDims?: readonly number[];
  dropoutRngName?: string;
  /** Default varianceScaling(1, "fan_in", "normal"). */
  mhaKernelInit?: Initializer;
  /** Default varianceScaling(1, "fan_in", "truncated_normal"). */
  mlpKernelInit?: Initializer;
  /** Default ["gelu"]. */
  mlpActivations?: readonly string[];
  /** limit, alpha and gluLinearOffset of clamped SwiGLU. */
  mlpActivationParams?: { limit?: number; alpha?: number; gluLinearOffset?: number } | null;
  useBias?: boolean;
  biasInit?: Initializer;
  /** Take the residual from the output of the norm instead of its input. */
  applyResidualConnectionPostLayernorm?: boolean;
  /** Normalise the layer's output instead of attention's input. */
  outputLayernorm?: boolean;
  float32AttentionLogits?: boolean;
  layerType?: TransformerLayerType;
  /** Default causal. */
  selfAttnMaskType?: string;
  selfAttnBiasType?: string;
  /** Add T5 relative position biases to self-attention. Default true. */
  enableRelativeEmbedding?: boolean;
  /** A module called as (queryLength, keyLength, { bidirectional }) in place of RelativePositionBiases. */
  relativeEmbedding?: Module | null;
  enableRotaryPosEmb?: boolean;
  rotaryPosEmbWindows?: readonly [number, number];
  rotaryPosEmbGroupMethod?: string;
  lowRankAdaptationScope?: string | null;
  lowRankAdaptationDim?: number;
  lowRankAdaptationAlpha?: number | null;
  /** Dtype of the parameters. Default float32. */
  dtype?: DType;
  /** Probability of dropping a whole sample's branch. Default 0. */
  dropPath?: number;
  fuseQkvParams?: boolean;
  /** Inputs are [S, B, H]. Default false. */
  transposeBatchSequence?: boolean;
  enableSequenceParallel?: boolean;
  scaleAttnLogits?: boolean;
  scaledQueryInit?: boolean;
  windowSize?: readonly [number, number] | null;
  softmaxType?: string;
  name?: string;
}

export interface TransformerLayerCallOptions {
  /** No dropout. Default false. */
  deterministic?: boolean;
  /** Inputs are new tokens; keys and values of earlier ones are in the collection "cache". */
  decode?: boolean;
  /** Length that relative position biases span in decoding; default the length of the inputs. */
  maxDecodeLength?: number;
}

/**
 * A transformer layer: self-attention, in a decoder attention to the encoder's output, and an MLP, each with its norm and
 * residual connection.
 *
 * `call(inputs, encoded?, attentionMask?, encoderDecoderMask?, { deterministic, decode, maxDecodeLength })` with inputs
 * [B, S, hiddenSize] gives the same shape and dtype. Masks are [1|B, 1|h, Sq, Skv], 1 = masked out. Submodules:
 * attention (self_attention in a decoder), encoder_decoder_attention, mlp, relpos_bias, output_layernorm.
 */
export class TransformerLayer extends Module {
  readonly hiddenSize: number;
  readonly numAttentionHeads: number;
  readonly layerType: TransformerLayerType;
  private readonly sequenceFirst: boolean;

  constructor(private readonly options: TransformerLayerOptions = {}) {
    super(options);
    this.hiddenSize = options.hiddenSize ?? 512;
    this.numAttentionHeads = options.numAttentionHeads ?? options.numHeads ?? 8;
    this.layerType = options.layerType ?? TransformerLayerType.ENCODER;
    this.sequenceFirst = options.transposeBatchSequence ?? false;
    checkOptions(this, options);
  }

  protected override get optionsPosition(): number {
    return 4;
  }

  call(
    inputs: Tensor,
    encoded?: Tensor | null,
    attentionMask?: Tensor | SequenceDescriptor | null,
    encoderDecoderMask?: Tensor | SequenceDescriptor | null,
    { deterministic = false, decode = false, maxDecodeLength }: TransformerLayerCallOptions = {},
  ): Tensor {
    const { options } = this;
    const isDecoder = this.layerType === TransformerLayerType.DECODER;
    this.checkCall(inputs, encoded);
    const postLayernorm = options.applyResidualConnectionPostLayernorm ?? false;
    const x = this.constrainHidden(inputs);
    const bias = this.relativeBias(x, decode, maxDecodeLength);
    const selfAttention = this.attention(isDecoder ? "self_attention" : "attention", {
      inputLayernorm: !(options.outputLayernorm ?? false),
      attnMaskType: options.selfAttnMaskType ?? "causal",
      attnBiasType: options.selfAttnBiasType,
    });
    const [attended, normalized] = selfAttention.call(x, x, attentionMask, bias, { deterministic, decode });
    let residual = postLayernorm ? normalized! : x;
    let hidden = this.dropPath(this.dropHidden(attended, deterministic), deterministic).add(residual);
    if (isDecoder) {
      const cross = this.attention("encoder_decoder_attention", {
        inputLayernorm: true,
        attnMaskType: "padding",
        attnBiasType: "no_bias",
      });
      const [seen, crossNormalized] = cross.call(hidden, encoded!, encoderDecoderMask, null, { deterministic });
      residual = postLayernorm ? crossNormalized! : hidden;
      hidden = this.dropHidden(seen, deterministic).add(residual);
    }
    hidden = this.constrainHidden(hidden);
    const [transformed, mlpNormalized] = this.mlp().call(hidden, { deterministic });
    residual = postLayernorm ? mlpNormalized! : hidden;
    const result = this.constrainHidden(
      this.dropPath(this.dropHidden(transformed, deterministic), deterministic).add(residual),
    );
    return options.outputLayernorm ? this.finalNorm().call(result) : result;
  }

  private checkCall(inputs: Tensor, encoded: Tensor | null | undefined): void {
    const fn = "TransformerLayer";
    if (inputs.rank !== 3 || inputs.shape[2] !== this.hiddenSize) {
      throw new TeError(
        "shape",
        `${fn}: inputs must have shape [batch, sequence, hiddenSize = ${this.hiddenSize}], got ${inputs.dtype}[${inputs.shape}].`,
      );
    }
    if (this.layerType === TransformerLayerType.DECODER && !encoded) {
      throw new TeError(
        "option",
        `${fn}: a DECODER needs the encoder's output as second argument. For a decoder-only model use ENCODER with a causal mask.`,
      );
    }
  }

  private constrainHidden(x: Tensor): Tensor {
    const sequence = this.options.enableSequenceParallel ? SEQLEN_TP_AXES : SEQLEN_AXES;
    return constrain(x, this.sequenceFirst ? [sequence, BATCH_AXES, HIDDEN_AXES] : [BATCH_AXES, sequence, HIDDEN_AXES]);
  }

  /** [1, heads, queries, keys], or undefined when relative embedding is off. In decoding, the rows of the new tokens. */
  private relativeBias(x: Tensor, decode: boolean, maxDecodeLength: number | undefined): Tensor | undefined {
    const { enableRelativeEmbedding = true, relativeEmbedding, dtype } = this.options;
    if (!enableRelativeEmbedding) return undefined;
    const count = x.shape[this.sequenceFirst ? 0 : 1]!;
    const length = decode ? (maxDecodeLength ?? this.cacheLength() ?? count) : count;
    const module = (relativeEmbedding ??
      new RelativePositionBiases({
        name: "relpos_bias",
        numBuckets: 32,
        maxDistance: 128,
        numAttentionHeads: this.numAttentionHeads,
        dtype,
        embeddingInit: varianceScaling(1, "fan_avg", "uniform"),
        embeddingAxes: ["heads", "relpos_buckets"],
      })) as RelativePositionBiases;
    const bias = module.call(length, length, { bidirectional: this.layerType === TransformerLayerType.ENCODER });
    if (!decode || this.initializing) return bias;
    const index = this.scope.find("cache", this.attentionName(), "cache_index") as Tensor;
    const zero = zeros([], { dtype: "int32" });
    return dynamicSlice(bias, [zero, zero, index, zero], [bias.shape[0]!, bias.shape[1]!, count, length]);
  }

  private attentionName(): string {
    return this.layerType === TransformerLayerType.DECODER ? "self_attention" : "attention";
  }

  private cacheLength(): number | undefined {
    const cached = this.scope.find("cache", this.attentionName(), "cached_key") as Tensor | undefined;
    return cached?.shape[this.sequenceFirst ? 0 : 1];
  }

  private attention(name: string, extra: Partial<MultiHeadAttentionOptions>): MultiHeadAttention {
    const o = this.options;
    return new MultiHeadAttention({
      name,
      headDim: this.hiddenSize / this.numAttentionHeads,
      numAttentionHeads: this.numAttentionHeads,
      numGqaGroups: o.numGqaGroups,
      attentionDropout: o.attentionDropout ?? 0.1,
      dropoutRngName: o.dropoutRngName,
      layernormType: o.layernormType,
      layernormEpsilon: o.layernormEpsilon,
      zeroCenteredGamma: o.zeroCenteredGamma,
      returnLayernormOutput: o.applyResidualConnectionPostLayernorm ?? false,
      kernelInit: o.mhaKernelInit,
      useBias: o.useBias,
      biasInit: o.biasInit,
      enableRotaryPosEmb: o.enableRotaryPosEmb,
      rotaryPosEmbWindows: o.rotaryPosEmbWindows,
      rotaryPosEmbGroupMethod: o.rotaryPosEmbGroupMethod,
      lowRankAdaptationScope: o.lowRankAdaptationScope,
      lowRankAdaptationDim: o.lowRankAdaptationDim,
      lowRankAdaptationAlpha: o.lowRankAdaptationAlpha,
      dtype: o.dtype,
      fuseQkvParams: o.fuseQkvParams,
      transposeBatchSequence: this.sequenceFirst,
      enableSequenceParallel: o.enableSequenceParallel,
      scaleAttnLogits: o.scaleAttnLogits,
      scaledQueryInit: o.scaledQueryInit,
      float32Logits: o.float32AttentionLogits,
      windowSize: o.windowSize,
      softmaxType: o.softmaxType,
      ...extra,
    });
  }

  private mlp(): LayerNormMLP {
    const o = this.options;
    const first = (...axes: [string, string, string]): string[] =>
      this.sequenceFirst ? [axes[1], axes[0], axes[2]] : axes;
    return new LayerNormMLP({
      name: "mlp",
      intermediateDim: o.mlpHiddenSize ?? 2048,
      layernormType: o.layernormType,
      epsilon: o.layernormEpsilon,
      zeroCenteredGamma: o.zeroCenteredGamma,
      scaleAxes: [W_NO_SHARD_AXES],
      lnBiasAxes: [W_NO_SHARD_AXES],
      kernelInit: o.mlpKernelInit,
      kernelAxes1: [W_FSDP_AXES, W_JOINED_AXES, W_TP_AXES],
      kernelAxes2: [W_TP_AXES, W_FSDP_AXES],
      useBias: o.useBias,
      biasInit: o.biasInit,
      biasAxes1: [W_JOINED_AXES, W_TP_AXES],
      biasAxes2: [W_NO_SHARD_AXES],
      returnLayernormOutput: o.applyResidualConnectionPostLayernorm ?? false,
      activations: o.mlpActivations,
      activationParams: o.mlpActivationParams,
      intermediateDropoutRate: o.intermediateDropout ?? 0,
      intermediateHiddenDropoutDims: o.intermediateDropoutDims,
      intermediateDropoutRngName: o.dropoutRngName,
      enableLowRankAdaptation: loraUses(parseLoraScope("TransformerLayer", o.lowRankAdaptationScope), "mlp"),
      lowRankAdaptationDim: o.lowRankAdaptationDim,
      lowRankAdaptationAlpha: o.lowRankAdaptationAlpha ?? undefined,
      dtype: o.dtype,
      transposeBatchSequence: this.sequenceFirst,
      layernormInputAxes: first(BATCH_AXES, o.enableSequenceParallel ? SEQLEN_TP_AXES : SEQLEN_AXES, HIDDEN_AXES),
      dot1InputAxes: first(BATCH_AXES, SEQLEN_AXES, HIDDEN_AXES),
      dot2InputAxes: first(BATCH_AXES, SEQLEN_AXES, HIDDEN_TP_AXES),
    });
  }

  private dropHidden(x: Tensor, deterministic: boolean): Tensor {
    const { hiddenDropout = 0.1, hiddenDropoutDims = [], dropoutRngName } = this.options;
    return new Dropout({ rate: hiddenDropout, broadcastDims: hiddenDropoutDims, rngName: dropoutRngName }).call(x, {
      deterministic,
    });
  }

  /** Drops the whole branch of a sample. */
  private dropPath(x: Tensor, deterministic: boolean): Tensor {
    const { dropPath = 0, dropoutRngName } = this.options;
    const batch = this.sequenceFirst ? 1 : 0;
    const broadcastDims = [0, 1, 2].filter((d) => d !== batch);
    return new Dropout({ rate: dropPath, broadcastDims, rngName: dropoutRngName }).call(x, { deterministic });
  }

  private finalNorm(): LayerNorm {
    const { layernormType, layernormEpsilon, zeroCenteredGamma, dtype } = this.options;
    return new LayerNorm({
      name: "output_layernorm",
      layernormType,
      epsilon: layernormEpsilon,
      zeroCenteredGamma,
      scaleAxes: [W_NO_SHARD_AXES],
      biasAxes: [W_NO_SHARD_AXES],
      dtype,
    });
  }
}

function checkOptions(layer: TransformerLayer, options: TransformerLayerOptions): void {
  const fn = "TransformerLayer";
  const { hiddenSize, numAttentionHeads, layerType } = layer;
  if (!Object.values(TransformerLayerType).includes(layerType)) {
    throw new TeError(
      "option",
      `${fn}: layerType must be TransformerLayerType.ENCODER or DECODER, got ${String(layerType)}.`,
    );
  }
  if (hiddenSize % numAttentionHeads !== 0) {
    throw new TeError(
      "option",
      `${fn}: hiddenSize must be a multiple of numAttentionHeads, got ${hiddenSize} and ${numAttentionHeads}.`,
    );
  }
  const dims = options.hiddenDropoutDims ?? [];
  if (!Array.isArray(dims) || dims.some((d) => !Number.isInteger(d) || d < -3 || d >= 3)) {
    throw new TeError(
      "option",
      `${fn}: hiddenDropoutDims must be an array of axes in [-3, 3), got ${JSON.stringify(dims)}.`,
    );
  }
}
