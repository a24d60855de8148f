/** Language models of published sizes, built from the layers, with their train step. */
import { Float8CurrentScaling, fp8Autocast } from "@te/fp8";
import { DenseGeneral, Embed, LayerNorm, Module, type Variables } from "@te/layers";
import { adamw, applyUpdates, chain, clipByGlobalNorm } from "@te/optim";
import { W_FSDP_AXES, W_NO_SHARD_AXES, W_TP_AXES } from "@te/sharding";
import { arange, checkpoint, crossEntropy, evalShape, type Tensor, tree, valueAndGrad } from "@te/tensor";
import { expectString, fail, nearestName } from "@te/tensor/op";
import { TransformerLayer } from "@te/transformer";
import { abstractTensor, abstractTree } from "./abstract.js";
import { expectModel, expectTraining } from "./check.js";

/** Sizes of a decoder-only model. */
export interface ModelSize {
  readonly name: string;
  /** Where its numbers are from. */
  readonly source: string;
  readonly layers: number;
  readonly hiddenSize: number;
  readonly mlpHiddenSize: number;
  readonly heads: number;
  /** Heads of keys and values. */
  readonly groups: number;
  readonly vocabulary: number;
  readonly sequence: number;
  /** llama: RMSNorm, rotary positions, SwiGLU, no biases. gpt: LayerNorm, learned positions, GELU, biases. */
  readonly style: "llama" | "gpt";
}

const LLAMA3 = {
  source: "The Llama 3 Herd of Models, arXiv:2407.21783, table 3; vocabulary of 128256 as released; 8K of pre-training",
  vocabulary: 128256,
  sequence: 8192,
  groups: 8,
  style: "llama",
} as const;

/** Models by name. */
export const MODELS: Readonly<Record<string, ModelSize>> = {
  "llama3-8b": { ...LLAMA3, name: "llama3-8b", layers: 32, hiddenSize: 4096, mlpHiddenSize: 14336, heads: 32 },
  "llama3-70b": { ...LLAMA3, name: "llama3-70b", layers: 80, hiddenSize: 8192, mlpHiddenSize: 28672, heads: 64 },
  "llama3-405b": { ...LLAMA3, name: "llama3-405b", layers: 126, hiddenSize: 16384, mlpHiddenSize: 53248, heads: 128 },
  "gpt3-175b": {
    name: "gpt3-175b",
    source:
      "Language Models are Few-Shot Learners, arXiv:2005.14165, table 2.1; vocabulary of 50257 filled up to 51200",
    layers: 96,
    hiddenSize: 12288,
    mlpHiddenSize: 49152,
    heads: 96,
    groups: 96,
    vocabulary: 51200,
    sequence: 2048,
    style: "gpt",
  },
};

/** The model of this name. Throws TeError "option" for a name that is none. */
export function modelOf(name: string): ModelSize {
  expectString("modelOf", { name });
  if (Object.hasOwn(MODELS, name)) return MODELS[name]!;
  const near = nearestName(name, Object.keys(MODELS));
  const wayOut = `${near ? `${near}? ` : ""}Known: ${Object.keys(MODELS).join(", ")}.`;
  return fail("option", "plan", "no such model", name, wayOut);
}

/** How a model is trained. */
export interface Training {
  /** Sequences of a step, on all devices together. */
  readonly batch: number;
  /** Layers compute their values again in the backward pass. */
  readonly checkpoint: boolean;
  /** The sequence is split between products, over the tensor axis. */
  readonly sequenceParallel: boolean;
  /** Of activations; "fp8": bfloat16, and the layers multiply in FP8 with current scaling. Default "bfloat16". */
  readonly precision?: Precision;
}

/** How layers compute. Parameters and the optimizer's state are float32. */
export type Precision = (typeof PRECISIONS)[number];

export const PRECISIONS = ["float32", "bfloat16", "fp8"] as const;

/** `call(ids)` with int32 [B, S] gives logits [B, S, vocabulary] in the dtype of its activations. */
class LanguageModel extends Module {
  private readonly embed: Embed;
  private readonly positions: Embed | undefined;
  private readonly layers: readonly TransformerLayer[];
  private readonly norm: LayerNorm;
  private readonly head: DenseGeneral;

  constructor(
    size: ModelSize,
    private readonly training: Omit<Training, "batch">,
  ) {
    super();
    const { vocabulary, hiddenSize, sequence } = size;
    const isLlama = size.style === "llama";
    const layernormType = isLlama ? "rmsnorm" : "layernorm";
    const outputDtype = training.precision === "float32" ? "float32" : "bfloat16";
    const table = { features: hiddenSize, outputDtype } as const;
    this.embed = new Embed({ ...table, numEmbeddings: vocabulary, embeddingAxes: [W_TP_AXES, W_FSDP_AXES] });
    this.positions = isLlama
      ? undefined
      : new Embed({ ...table, numEmbeddings: sequence, embeddingAxes: [W_NO_SHARD_AXES, W_FSDP_AXES] });
    this.layers = Array.from(
      { length: size.layers },
      () =>
        new TransformerLayer({
          hiddenSize,
          mlpHiddenSize: size.mlpHiddenSize,
          numAttentionHeads: size.heads,
          numGqaGroups: size.groups,
          mlpActivations: isLlama ? ["silu", "linear"] : ["gelu"],
          layernormType,
          useBias: !isLlama,
          enableRotaryPosEmb: isLlama,
          ...(isLlama && { rotaryPosEmbWindows: [1, 500000] as const }),
          enableRelativeEmbedding: false,
          enableSequenceParallel: training.sequenceParallel,
          selfAttnMaskType: "causal",
          hiddenDropout: 0,
          attentionDropout: 0,
        }),
    );
    this.norm = new LayerNorm({ layernormType, scaleAxes: [W_NO_SHARD_AXES], biasAxes: [W_NO_SHARD_AXES] });
    this.head = new DenseGeneral({ features: vocabulary, kernelAxes: [W_FSDP_AXES, W_TP_AXES] });
  }

  call(ids: Tensor): Tensor {
    let x = this.embed.call(ids);
    if (this.positions) x = x.add(this.positions.call(arange(ids.shape[1]!)));
    for (const layer of this.layers) {
      const apply = (x: Tensor): Tensor => layer.call(x, null, null, null, { deterministic: true });
      x = (this.training.checkpoint ? checkpoint(apply) : apply)(x);
    }
    const normalized = this.norm.call(x);
    return fp8Autocast({ enabled: false }, () => this.head.call(normalized));
  }
}

/** What a step takes and gives. */
export interface TrainState {
  readonly variables: Variables;
  readonly optimizer: unknown;
}

/** A train step, and arguments for it that hold nothing. */
export interface TrainingStep {
  /** (state, tokens int32 [B, S + 1]) → [next state, mean loss]. The state may be donated. */
  readonly step: (state: TrainState, tokens: Tensor) => [TrainState, Tensor];
  readonly args: [state: TrainState, tokens: Tensor];
}

/** The step of AdamW with clipped gradients on a model of this size. Call it where the step will be traced. */
export function trainingStep(size: ModelSize, training: Training): TrainingStep {
  expectModel("trainingStep", size);
  expectTraining("trainingStep", training);
  const model = new LanguageModel(size, training);
  const matrices = (params: unknown) => tree.map((p: Tensor) => p.rank > 1, params as Variables["params"]);
  const optimizer = chain(
    clipByGlobalNorm(1),
    adamw({ learningRate: 3e-4, b2: 0.95, weightDecay: 0.1, mask: matrices }),
  );
  const differentiate = valueAndGrad((variables: Variables, tokens: Tensor): Tensor => {
    const [batch, length] = tokens.shape as [number, number];
    const logits = model.apply(variables, tokens.slice([0, 0], [batch, length - 1])) as Tensor;
    return crossEntropy(logits, tokens.slice([0, 1], [batch, length])).mean();
  });
  const inPrecision = <R>(body: () => R): R =>
    fp8Autocast({ enabled: training.precision === "fp8", fp8Recipe: new Float8CurrentScaling() }, body);
  const step = (state: TrainState, tokens: Tensor): [TrainState, Tensor] => {
    const [loss, { params: gradients }] = inPrecision(() => differentiate(state.variables, tokens));
    const [updates, next] = optimizer.update(gradients, state.optimizer as never, state.variables.params);
    const params = applyUpdates(state.variables.params, updates);
    return [{ variables: { ...state.variables, params }, optimizer: next }, loss];
  };
  const make = (key: Tensor, ids: Tensor): TrainState => {
    const { params } = inPrecision(() => model.init(key, ids));
    return { variables: { params }, optimizer: optimizer.init(params) };
  };
  const ids = abstractTensor([1, size.sequence], "int32");
  const state = abstractTree(evalShape(make, abstractTensor([2], "uint32"), ids)) as unknown as TrainState;
  return { step, args: [state, abstractTensor([training.batch, size.sequence + 1], "int32")] };
}
