/** Options of TransformerLayer, their defaults, and the contradictions between them that are refused. */
import {
  type ClampedActivationParams,
  checkRate,
  type Initializer,
  Module,
  parseActivations,
  varianceScaling,
} from "@te/layers";
import { type Defaults, expectList, fail, type WithDefaults } from "@te/tensor/op";
import { type AttentionBlockOptions, attentionBlockDefaults, checkAttentionBlock } from "./attention-block-options.js";
import { checkAttentionDropout, parseBiasType, parseMaskType } from "./attention-options.js";

/** An encoder layer attends to its input; a decoder layer also to the encoder's output. */
export const TransformerLayerType = { ENCODER: "encoder", DECODER: "decoder" } as const;
export type TransformerLayerType = (typeof TransformerLayerType)[keyof typeof TransformerLayerType];

/** Options of TransformerLayer. */
export interface TransformerLayerOptions extends AttentionBlockOptions {
  /** Size of inputs and results, a multiple of numAttentionHeads. Default 512. */
  hiddenSize?: number;
  /** Size inside the MLP. Default 2048. */
  mlpHiddenSize?: number;
  /** Number of query heads. Default 8. */
  numAttentionHeads?: number;
  /** Another name of numAttentionHeads. */
  numHeads?: number;
  /** Rate of dropout after attention and after the MLP. Default 0.1. */
  hiddenDropout?: number;
  /** Axes along which the hidden dropout mask is shared, in [-3, 3). Default []. */
  hiddenDropoutDims?: readonly number[];
  /** Probability of dropping an attention weight, in [0, 1). Default 0.1. */
  attentionDropout?: number;
  /** Rate of dropout inside the MLP. Default 0. */
  intermediateDropout?: number;
  /** Axes along which the mask inside the MLP is shared. Default []. */
  intermediateDropoutDims?: readonly number[];
  /** Of attention's kernels. Default varianceScaling(1, "fan_in", "normal"). */
  mhaKernelInit?: Initializer;
  /** Of the MLP's kernels. Default varianceScaling(1, "fan_in", "truncated_normal"). */
  mlpKernelInit?: Initializer;
  /** Activations of the MLP, as in LayerNormMLP. Default ["gelu"]. */
  mlpActivations?: readonly string[];
  /** limit, alpha and gluLinearOffset of clamped SwiGLU. Default null: theirs. */
  mlpActivationParams?: ClampedActivationParams | null;
  /** Take the residual from the output of the norm instead of its input. Default false. */
  applyResidualConnectionPostLayernorm?: boolean;
  /** Normalise the layer's output instead of attention's input. Default false. */
  outputLayernorm?: boolean;
  /** As float32Logits of DotProductAttention. Default false. */
  float32AttentionLogits?: boolean;
  /** Default TransformerLayerType.ENCODER. */
  layerType?: TransformerLayerType;
  /** As attnMaskType of DotProductAttention. Default "causal". */
  selfAttnMaskType?: string;
  /** As attnBiasType of DotProductAttention. Default null. */
  selfAttnBiasType?: string | null;
  /** Add T5 relative position biases to self-attention. Default true. */
  enableRelativeEmbedding?: boolean;
  /**
   * A module called as (queryLength, keyLength, { bidirectional }) in place of RelativePositionBiases, whose result
   * broadcasts to [1, heads, queryLength, keyLength]. Default null.
   */
  relativeEmbedding?: Module | null;
  /** Probability of dropping a whole sample's branch, of self-attention and of the MLP. Default 0. */
  dropPath?: number;
  /** Split the sequence of inputs, results and residuals over the tensor-parallel axis. Default false. */
  enableSequenceParallel?: boolean;
  /** Name among the parent's variables. */
  name?: string;
}

export const transformerLayerDefaults = {
  hiddenSize: 512,
  mlpHiddenSize: 2048,
  numAttentionHeads: 8,
  numHeads: undefined,
  hiddenDropout: 0.1,
  hiddenDropoutDims: [],
  attentionDropout: 0.1,
  intermediateDropout: 0,
  intermediateDropoutDims: [],
  mhaKernelInit: varianceScaling(1, "fan_in", "normal"),
  mlpKernelInit: varianceScaling(1, "fan_in", "truncated_normal"),
  mlpActivations: ["gelu"],
  mlpActivationParams: null,
  applyResidualConnectionPostLayernorm: false,
  outputLayernorm: false,
  float32AttentionLogits: false,
  layerType: TransformerLayerType.ENCODER,
  selfAttnMaskType: "causal",
  selfAttnBiasType: null,
  enableRelativeEmbedding: true,
  relativeEmbedding: null,
  dropPath: 0,
  enableSequenceParallel: false,
  ...attentionBlockDefaults,
  name: undefined,
} satisfies Defaults<TransformerLayerOptions>;

export type ResolvedLayerOptions = WithDefaults<TransformerLayerOptions, typeof transformerLayerDefaults>;

/** Throws where an option is not what it must be, or contradicts another. */
export function checkLayerOptions(fn: string, options: ResolvedLayerOptions): void {
  const { layerType, relativeEmbedding } = options;
  if (!Object.values(TransformerLayerType).includes(layerType)) {
    const rule = "layerType must be TransformerLayerType.ENCODER or DECODER";
    fail("option", fn, rule, layerType);
  }
  checkSizes(fn, options);
  checkAttentionBlock(fn, options);
  checkAttentionDropout(fn, options.attentionDropout);
  parseMaskType(fn, options.selfAttnMaskType, "selfAttnMaskType");
  parseActivations(fn, options.mlpActivations, options.mlpActivationParams, ["mlpActivations", "mlpActivationParams"]);
  for (const name of ["hiddenDropout", "intermediateDropout", "dropPath"] as const) checkRate(fn, name, options[name]);
  for (const name of ["hiddenDropoutDims", "intermediateDropoutDims"] as const) {
    const isAxis = (d: unknown): boolean => Number.isInteger(d) && (d as number) >= -3 && (d as number) < 3;
    expectList(fn, "axes in [-3, 3)", { [name]: options[name] }, isAxis);
  }
  if (relativeEmbedding !== null && !(relativeEmbedding instanceof Module)) {
    const rule = "relativeEmbedding must be a module called as (queryLength, keyLength, { bidirectional })";
    fail("option", fn, rule, relativeEmbedding);
  }
  checkSelfAttentionBias(fn, options);
}

function checkSizes(fn: string, { hiddenSize, mlpHiddenSize, numAttentionHeads }: ResolvedLayerOptions): void {
  for (const [name, size] of Object.entries({ hiddenSize, mlpHiddenSize }))
    if (!Number.isSafeInteger(size) || size < 1) fail("option", fn, `${name} must be an integer of at least 1`, size);
  if (hiddenSize % numAttentionHeads !== 0) {
    const rule = "hiddenSize must be a multiple of numAttentionHeads";
    fail("option", fn, rule, `${hiddenSize} and ${numAttentionHeads}`);
  }
}

/** The bias of self-attention is the relative embedding. */
function checkSelfAttentionBias(fn: string, { selfAttnBiasType, enableRelativeEmbedding }: ResolvedLayerOptions): void {
  const type = parseBiasType(fn, selfAttnBiasType, "selfAttnBiasType");
  if (type === null || (type === "no_bias") !== enableRelativeEmbedding) return;
  const [what, other] = enableRelativeEmbedding ? ["does not go with", false] : ["needs", true];
  const rule = `selfAttnBiasType "${type}" ${what} a bias, which enableRelativeEmbedding adds`;
  fail("option", fn, rule, enableRelativeEmbedding, `Set enableRelativeEmbedding to ${other}, or leave out the type.`);
}
