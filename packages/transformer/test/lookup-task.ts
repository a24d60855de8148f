/**
 * E01: look a value up by its key. A sequence holds a query key, then pairs of distinct keys and random values, then
 * padding that pairs the query's key with wrong values. The class is the value that was paired with the query's key. It
 * takes attention by content, the padding mask, the gradient of the scores and the residual path to solve.
 */

import { autocast, type Recipe } from "@te/fp8";
import { DenseGeneral, Embed, Module } from "@te/layers";
import { adamw, applyUpdates } from "@te/optim";
import { crossEntropy, type DType, jit, random, type Tensor, tensor, tree, valueAndGrad } from "@te/tensor";
import { generator, seedOf } from "@te/testkit";
import { TransformerLayer } from "../src/index.js";

const KEYS = 24;
const VALUES = 16;

export interface LookupOptions {
  readonly batch: number;
  readonly length: number;
  readonly shortest: number;
  readonly longest: number;
  readonly width: number;
  readonly steps: number;
  readonly learningRate: number;
  readonly dtype: DType;
  readonly recipe?: Recipe;
  /** A handicap that training must not overcome. */
  readonly mask?: boolean;
}

interface Batch {
  readonly keys: Tensor;
  readonly values: Tensor;
  readonly mask: Tensor;
  readonly labels: Tensor;
}

class Model extends Module {
  readonly keys: Embed;
  readonly values: Embed;
  readonly layer: TransformerLayer;
  readonly head = new DenseGeneral({ features: VALUES, useBias: true });

  constructor({ width, dtype }: LookupOptions) {
    super();
    const embeddingInit = (key: Tensor, shape: readonly number[]) => random.normal(key, shape).mul(0.5);
    this.keys = new Embed({ numEmbeddings: KEYS, features: width, embeddingInit, outputDtype: dtype });
    this.values = new Embed({ numEmbeddings: VALUES + 1, features: width, embeddingInit, outputDtype: dtype });
    this.layer = new TransformerLayer({
      hiddenSize: width,
      mlpHiddenSize: 2 * width,
      numAttentionHeads: 4,
      hiddenDropout: 0,
      attentionDropout: 0,
      enableRelativeEmbedding: false,
      selfAttnMaskType: "padding",
      scaleAttnLogits: true,
      scaledQueryInit: false,
    });
  }

  call({ keys, values, mask }: Batch): Tensor {
    const x = this.keys.call(keys).add(this.values.call(values));
    const y = this.layer.call(x, null, mask);
    const [batch, , width] = y.shape as [number, number, number];
    return this.head.call(y.slice([0, 0, 0], [batch, 1, width]).reshape([batch, width])).astype("float32");
  }
}

function shuffled(uniform: () => number, n: number): number[] {
  const order = Array.from({ length: n }, (_, i) => i);
  for (let i = n - 1; i > 0; i--) {
    const j = Math.floor(uniform() * (i + 1));
    [order[i], order[j]] = [order[j]!, order[i]!];
  }
  return order;
}

function drawBatch({ batch, length, shortest, longest, mask = true }: LookupOptions, seed: string): Batch {
  const uniform = generator(seedOf(seed));
  const pick = (n: number): number => Math.floor(uniform() * n);
  const [keys, values, labels] = [
    new Int32Array(batch * length),
    new Int32Array(batch * length),
    new Int32Array(batch),
  ];
  const hidden = new Uint8Array(batch * length);
  for (let b = 0; b < batch; b++) {
    const pairs = shortest + pick(longest - shortest + 1);
    const order = shuffled(uniform, KEYS).slice(0, pairs);
    const wanted = pick(pairs);
    keys[b * length] = order[wanted]!;
    values[b * length] = VALUES;
    for (let i = 1; i < length; i++) {
      const at = b * length + i;
      keys[at] = i <= pairs ? order[i - 1]! : order[wanted]!;
      values[at] = pick(VALUES);
      hidden[at] = mask && i > pairs ? 1 : 0;
    }
    labels[b] = values[b * length + 1 + wanted]!;
  }
  return {
    keys: tensor(keys, { shape: [batch, length] }),
    values: tensor(values, { shape: [batch, length] }),
    mask: tensor(hidden, { shape: [batch, 1, 1, length] }).broadcastTo([batch, 1, length, length]),
    labels: tensor(labels, { shape: [batch] }),
  };
}

/** Trains on fresh batches and gives the share of right answers on others. */
export async function trainLookup(options: LookupOptions, seed: number): Promise<number> {
  const { recipe, steps, learningRate } = options;
  return autocast({ enabled: recipe !== undefined, recipe }, async () => {
    const model = new Model(options);
    const optimizer = adamw({ learningRate });
    const { params_axes: _, ...start }: any = model.init(random.key(seed), drawBatch(options, "shape"));
    let [variables, state] = [start, optimizer.init(start.params)];
    const loss = (v: any, batch: Batch) => crossEntropy(model.apply(v, batch), batch.labels).mean();
    const step = jit((v: any, state: any, batch: Batch) => {
      const [value, { params: grads, ...rest }] = valueAndGrad(loss)(v, batch);
      const [updates, next] = optimizer.update(grads, state, v.params);
      return [{ ...rest, params: applyUpdates(v.params, updates) }, next, value];
    });
    for (let t = 0; t < steps; t++) {
      const batch = drawBatch(options, `${seed}/${t}`);
      const [nextVariables, nextState, value] = step(variables, state, batch);
      for (const leaf of tree.leaves([variables, state, batch, value])) leaf.dispose();
      [variables, state] = [nextVariables, nextState];
    }
    const answer = jit((v: any, batch: Batch) =>
      model.apply(v, batch).argmax(-1).eq(batch.labels).astype("float32").mean(),
    );
    let right = 0;
    for (let t = 0; t < 8; t++) right += await answer(variables, drawBatch(options, `${seed}/evaluation ${t}`)).item();
    return right / 8;
  });
}

/** The task at its full size. */
export const FULL: LookupOptions = {
  batch: 64,
  length: 32,
  shortest: 12,
  longest: 24,
  width: 128,
  steps: 200,
  learningRate: 1e-3,
  dtype: "float32",
};
