/** Models of the shapes of GPT-2, Llama, BERT and T5, and their train steps in every precision and recipe. */
import { DelayedScaling, Float8CurrentScaling, fp8Autocast, type Recipe, updateCollections } from "@te/fp8";
import { DenseGeneral, Embed, LayerNorm, Module } from "@te/layers";
import { adamw, applyUpdates, chain, clipByGlobalNorm } from "@te/optim";
import { crossEntropy, type DType, jit, random, type Tensor, tensor, valueAndGrad } from "@te/tensor";
import { normals } from "@te/testkit";
import { TransformerLayer, type TransformerLayerOptions, TransformerLayerType } from "@te/transformer";

export interface Size {
  readonly hidden: number;
  readonly batch: number;
  readonly length: number;
}

const VOCABULARY = 40;
const QUIET = { hiddenDropout: 0, attentionDropout: 0, enableRelativeEmbedding: false };

/** Decoders and encoders of the four shapes; those of T5 attend to an encoder, and drop. */
export const SHAPES: Readonly<Record<string, TransformerLayerOptions>> = {
  "GPT-2": {
    ...QUIET,
    useBias: true,
    mlpActivations: ["gelu"],
    selfAttnMaskType: "causal",
    enableRotaryPosEmb: true,
  },
  Llama: {
    ...QUIET,
    layernormType: "rmsnorm",
    mlpActivations: ["silu", "linear"],
    numGqaGroups: 2,
    enableRotaryPosEmb: true,
  },
  BERT: {
    ...QUIET,
    useBias: true,
    selfAttnMaskType: "padding",
    outputLayernorm: true,
    hiddenDropout: 0.1,
    attentionDropout: 0.1,
  },
  T5: {
    layernormType: "rmsnorm",
    mlpActivations: ["relu"],
    layerType: TransformerLayerType.DECODER,
    enableRelativeEmbedding: true,
    hiddenDropout: 0.1,
    attentionDropout: 0,
  },
};

export interface Precision {
  readonly dtype: DType;
  readonly recipe: Recipe | null;
}

export const PRECISIONS = {
  float32: { dtype: "float32", recipe: null },
  bfloat16: { dtype: "bfloat16", recipe: null },
  float16: { dtype: "float16", recipe: null },
  "delayed scaling": { dtype: "bfloat16", recipe: new DelayedScaling({ amaxHistoryLen: 4 }) },
  "current scaling": { dtype: "bfloat16", recipe: new Float8CurrentScaling() },
} as const satisfies Readonly<Record<string, Precision>>;

class Model extends Module {
  private readonly tokens: Embed;
  private readonly layers: readonly TransformerLayer[];
  private readonly norm = new LayerNorm();
  private readonly head = new DenseGeneral({ features: VOCABULARY });

  constructor(
    private readonly options: TransformerLayerOptions,
    private readonly size: Size,
    private readonly outputDtype: DType,
  ) {
    super();
    const { hidden } = size;
    this.tokens = new Embed({ numEmbeddings: VOCABULARY, features: hidden, outputDtype });
    const sizes = { hiddenSize: hidden, mlpHiddenSize: 2 * hidden, numAttentionHeads: 4 };
    this.layers = [0, 1].map(() => new TransformerLayer({ ...sizes, ...options }));
  }

  call(ids: Tensor): Tensor {
    let x = this.tokens.call(ids);
    const { layerType, selfAttnMaskType } = this.options;
    const { batch, length, hidden } = this.size;
    const mask = selfAttnMaskType === "padding" ? paddingMask(this.size) : null;
    const decoder = layerType === TransformerLayerType.DECODER;
    const encoded = decoder ? normals([batch, length, hidden], { dtype: this.outputDtype as never }) : null;
    for (const layer of this.layers) x = layer.call(x, encoded, mask, decoder ? paddingMask(this.size) : null);
    return this.head.call(this.norm.call(x));
  }
}

/** 1 hides: the last quarter of the last sequence. */
function paddingMask({ batch, length }: Size): Tensor {
  const hidden = Uint8Array.from({ length: batch * length * length }, (_, i) =>
    Number(i >= (batch - 1) * length * length && i % length >= 0.75 * length),
  );
  return tensor(hidden, { shape: [batch, 1, length, length] });
}

/** The token ids of a step. */
const ids = ({ batch, length }: Size, step: number): Tensor =>
  tensor(
    Int32Array.from({ length: batch * length }, (_, i) => (i * 7 + step * 13) % VOCABULARY),
    { shape: [batch, length] },
  );

export interface Training {
  readonly state: unknown;
  /** Takes the state over; gives the next one and the loss. */
  readonly step: (state: unknown, number: number) => [state: unknown, loss: Tensor];
}

/** A model on the device that is set, and its train step, optimizer included. */
export function training(options: TransformerLayerOptions, size: Size, { dtype, recipe }: Precision): Training {
  const inPrecision = <R>(fn: () => R): R => fp8Autocast({ enabled: recipe !== null, fp8Recipe: recipe }, fn);
  const model = new Model(options, size, dtype);
  const optimizer = chain(clipByGlobalNorm(1), adamw({ learningRate: 1e-2 }));
  const rngs = (key: Tensor) => ({ params: key, dropout: random.foldIn(key, 1) });
  const { params_axes: _, ...variables }: any = inPrecision(() => model.init(rngs(random.key(0)), ids(size, 0)));
  const lossOf = (variables: any, tokens: Tensor, key: Tensor): Tensor =>
    crossEntropy(model.apply(variables, tokens, { rngs: rngs(key) }) as Tensor, tokens).mean();
  const step = jit(
    (state: any, tokens: Tensor, key: Tensor) => {
      const [loss, { params: gradients, ...metas }] = valueAndGrad((v: any) => lossOf(v, tokens, key))(
        state.variables,
      ) as any;
      const [updates, next] = optimizer.update(gradients, state.optimizer, state.variables.params);
      const params = applyUpdates(state.variables.params, updates);
      return [{ variables: updateCollections({ ...metas, params }, state.variables), optimizer: next }, loss];
    },
    { donateArgnums: [0] },
  );
  return {
    state: { variables, optimizer: optimizer.init(variables.params) },
    step: (state, number) => inPrecision(() => step(state, ids(size, number), random.key(number))) as [unknown, Tensor],
  };
}
