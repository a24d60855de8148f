/**
 * Train steps of models of the shapes of GPT-2, Llama, BERT and T5 on the device "cuda": the losses of the CPU, in every
 * precision and recipe, and from the first kernel to the last on the GPU.
 */
import "./emulated.js";
import "@te/kernels-cpu";
import { DelayedScaling, Float8CurrentScaling, fp8Autocast, type Recipe, updateCollections } from "@te/fp8";
import { cudaAvailable, type KernelTiming, profile } from "@te/kernels-cuda";
import { DenseGeneral, Embed, LayerNorm, Module } from "@te/layers";
import { adamw, applyUpdates, chain, clipByGlobalNorm } from "@te/optim";
import { crossEntropy, type DType, jit, random, setDevice, type Tensor, tensor, tree, valueAndGrad } from "@te/tensor";
import { normals } from "@te/testkit";
import { TransformerLayer, type TransformerLayerOptions, TransformerLayerType } from "@te/transformer";
import { afterAll, describe, expect, test } from "vitest";

const SIZE = { hiddenSize: 32, mlpHiddenSize: 64, numAttentionHeads: 4 };
const VOCABULARY = 40;
const [BATCH, LENGTH] = [2, 16];
const QUIET = { hiddenDropout: 0, attentionDropout: 0, enableRelativeEmbedding: false };

/** Decoders and encoders of the four shapes; those of T5 attend to an encoder, and drop. */
const SHAPES: Readonly<Record<string, TransformerLayerOptions>> = {
  "GPT-2": {
    ...SIZE,
    ...QUIET,
    useBias: true,
    mlpActivations: ["gelu"],
    selfAttnMaskType: "causal",
    enableRotaryPosEmb: true,
  },
  Llama: {
    ...SIZE,
    ...QUIET,
    layernormType: "rmsnorm",
    mlpActivations: ["silu", "linear"],
    numGqaGroups: 2,
    enableRotaryPosEmb: true,
  },
  BERT: {
    ...SIZE,
    ...QUIET,
    useBias: true,
    selfAttnMaskType: "padding",
    outputLayernorm: true,
    hiddenDropout: 0.1,
    attentionDropout: 0.1,
  },
  T5: {
    ...SIZE,
    layernormType: "rmsnorm",
    mlpActivations: ["relu"],
    layerType: TransformerLayerType.DECODER,
    enableRelativeEmbedding: true,
    hiddenDropout: 0.1,
    attentionDropout: 0,
  },
};

class Model extends Module {
  private readonly tokens: Embed;
  private readonly layers: readonly TransformerLayer[];
  private readonly norm = new LayerNorm();
  private readonly head = new DenseGeneral({ features: VOCABULARY });

  constructor(
    private readonly options: TransformerLayerOptions,
    private readonly outputDtype: DType,
  ) {
    super();
    this.tokens = new Embed({ numEmbeddings: VOCABULARY, features: SIZE.hiddenSize, outputDtype });
    this.layers = [0, 1].map(() => new TransformerLayer(options));
  }

  call(ids: Tensor): Tensor {
    let x = this.tokens.call(ids);
    const { layerType, selfAttnMaskType } = this.options;
    const mask = selfAttnMaskType === "padding" ? paddingMask() : null;
    const decoder = layerType === TransformerLayerType.DECODER;
    const encoded = decoder ? normals([BATCH, LENGTH, SIZE.hiddenSize], { dtype: this.outputDtype as never }) : null;
    for (const layer of this.layers) x = layer.call(x, encoded, mask, decoder ? paddingMask() : null);
    return this.head.call(this.norm.call(x));
  }
}

/** 1 hides: the last quarter of the second sequence. */
function paddingMask(): Tensor {
  const hidden = Uint8Array.from({ length: BATCH * LENGTH * LENGTH }, (_, i) =>
    Number(i >= LENGTH * LENGTH && i % LENGTH >= 12),
  );
  return tensor(hidden, { shape: [BATCH, 1, LENGTH, LENGTH] });
}

const ids = (step: number): Tensor =>
  tensor(
    Int32Array.from({ length: BATCH * LENGTH }, (_, i) => (i * 7 + step * 13) % VOCABULARY),
    { shape: [BATCH, LENGTH] },
  );

interface Precision {
  readonly dtype: DType;
  readonly recipe: Recipe | null;
}
const PRECISIONS: Readonly<Record<string, Precision>> = {
  float32: { dtype: "float32", recipe: null },
  bfloat16: { dtype: "bfloat16", recipe: null },
  float16: { dtype: "float16", recipe: null },
  "delayed scaling": { dtype: "bfloat16", recipe: new DelayedScaling({ amaxHistoryLen: 4 }) },
  "current scaling": { dtype: "bfloat16", recipe: new Float8CurrentScaling() },
};
/**
 * Relative, two to three times what orders of rounding do in two steps. A float8 value that rounds the other way moves a loss
 * further than one of 16 bits. Dropout draws the same bits everywhere.
 */
const LIMITS: Readonly<Record<keyof typeof PRECISIONS, number>> = {
  float32: 1e-6,
  bfloat16: 5e-3,
  float16: 1e-3,
  "delayed scaling": 3e-2,
  "current scaling": 1.2e-2,
};

/** The losses of two steps on a device, and the kernels of the second. */
async function train(device: string, options: TransformerLayerOptions, { dtype, recipe }: Precision) {
  setDevice(device);
  const inPrecision = <R>(fn: () => R): R => fp8Autocast({ enabled: recipe !== null, fp8Recipe: recipe }, fn);
  const model = new Model(options, dtype);
  const optimizer = chain(clipByGlobalNorm(1), adamw({ learningRate: 1e-2 }));
  const rngs = (key: Tensor) => ({ params: key, dropout: random.foldIn(key, 1) });
  const { params_axes: _, ...variables }: any = inPrecision(() => model.init(rngs(random.key(0)), ids(0)));
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
  let state: any = { variables, optimizer: optimizer.init(variables.params) };
  const losses: number[] = [];
  let kernels: KernelTiming[] = [];
  for (let i = 0; i < 2; i++) {
    const [tokens, key] = [ids(i), random.key(i)];
    kernels = await profile(async () => {
      let loss: Tensor;
      [state, loss] = inPrecision(() => step(state, tokens, key)) as [unknown, Tensor];
      losses.push((await loss.data())[0] as number);
    });
  }
  for (const leaf of tree.leaves(state)) (leaf as Tensor).dispose();
  return { losses, kernels };
}

afterAll(() => setDevice("auto"));

describe.skipIf(!cudaAvailable().available).each(Object.entries(SHAPES))(
  "a train step of the shape of %s",
  (shape, options) => {
    test.each(Object.entries(PRECISIONS))("in %s", async (name, precision) => {
      const expected = await train("cpu", options, precision);
      const { losses, kernels } = await train("cuda", options, precision);
      losses.forEach((loss, i) => expect(Math.abs(loss / expected.losses[i]! - 1)).toBeLessThan(LIMITS[name]!));
      // A stretch on the host would cut the step into several programs.
      expect(new Set(kernels.map(({ program }) => program)).size).toBe(1);
      const ops = kernels.map(({ op }) => op);
      if (options.enableRotaryPosEmb) {
        // Queries and keys turn where they lie, beside the values: once in each layer, or apart with fewer heads of keys.
        expect(ops.filter((op) => ["slice", "pad", "concat"].includes(op))).toEqual([]);
        expect(ops.filter((op) => op === "rope").length).toBe(2 * 2 * (options.numGqaGroups ? 2 : 1));
      }
      if (shape === "GPT-2" && ["bfloat16", "float16"].includes(name)) {
        // Of each layer: the activation, its derivative and the gradient of a bias are no kernels of their own.
        expect(ops.filter((op) => op.startsWith("dot_activation")).length).toBe(4);
        expect(ops.filter((op) => op.startsWith("gated_activation"))).toEqual([]);
      }
    });
  },
);
