/** The names that attention and the layer give their values: a policy that keeps one computes everything else again. */
import {
  type CheckpointPolicy,
  checkpoint,
  checkpointPolicies,
  makeProgram,
  random,
  type Tensor,
  valueAndGrad,
} from "@te/tensor";
import { findBitDifference, normals, onEachDevice } from "@te/testkit";
import { describe, expect, test } from "vitest";
import {
  DotProductAttention,
  MultiHeadAttention,
  type MultiHeadAttentionOptions,
  TransformerLayer,
} from "../src/index.js";

const { nothingSaveable, everythingSaveable, saveOnlyTheseNames } = checkpointPolicies;
const x = normals([2, 6, 16]);
const other = normals([2, 5, 16], { seed: "other" });

type Loss = (params: unknown, x: Tensor) => Tensor;
const gradientOf = (loss: Loss, policy?: CheckpointPolicy) =>
  valueAndGrad(policy ? checkpoint(loss, { policy }) : loss);

/** How many more nodes of these ops the gradient has than without a checkpoint. */
function again(loss: Loss, params: unknown, policy: CheckpointPolicy, ...ops: string[]): number {
  const count = (policy?: CheckpointPolicy): number =>
    makeProgram(gradientOf(loss, policy))(params, x).nodes.filter(({ op }) => ops.includes(op.name)).length;
  return count(policy) - count();
}

const layer = new TransformerLayer({
  hiddenSize: 16,
  mlpHiddenSize: 32,
  numAttentionHeads: 2,
  hiddenDropout: 0,
  attentionDropout: 0,
});
const layerParams = layer.init(random.key(0), x).params;
const layerLoss: Loss = (params, x) => layer.apply({ params: params as never }, x).sum();

const heads = { headDim: 8, numAttentionHeads: 2 };
const attentionLoss = (options: Partial<MultiHeadAttentionOptions>, cross: boolean): [Loss, unknown] => {
  const module = new MultiHeadAttention({ ...heads, ...options, attnMaskType: "no_mask" });
  const kv = (x: Tensor): Tensor => (cross ? other : x);
  const { params } = module.init(random.key(0), x, kv(x));
  return [
    (params, x) =>
      module
        .apply({ params: params as never }, x, kv(x))[0]
        .sin()
        .sum(),
    params,
  ];
};

describe("a layer", () => {
  test("keeps nothing, or everything", () => {
    expect(again(layerLoss, layerParams, nothingSaveable, "attention")).toBe(1);
    expect(again(layerLoss, layerParams, everythingSaveable, "layer_norm", "dot", "attention")).toBe(0);
  });

  // What each name spares: without it, the value's product (or attention) runs twice.
  test.each([
    ["combined_qkv_proj", "dot"],
    ["context", "attention"],
    ["out_proj", "dot"],
    ["ffn1", "dot"],
  ])("keeps %s", (name, op) => {
    const all = again(layerLoss, layerParams, nothingSaveable, op);
    expect(again(layerLoss, layerParams, saveOnlyTheseNames(name), op)).toBe(all - 1);
    expect(again(layerLoss, layerParams, saveOnlyTheseNames("no such name"), op)).toBe(all);
  });

  test("the result of the MLP is needed by nothing behind it", () => {
    const behind: Loss = (params, x) =>
      layer
        .apply({ params: params as never }, x)
        .sin()
        .sum();
    const all = again(behind, layerParams, nothingSaveable, "dot");
    expect(again(behind, layerParams, saveOnlyTheseNames("ffn2"), "dot")).toBe(all - 1);
  });
});

describe("attention", () => {
  test.each<[string, Partial<MultiHeadAttentionOptions>, boolean]>([
    ["combined_kv_proj", { numGqaGroups: 1 }, false],
    ["combined_kv_proj", {}, true],
    ["query_proj", { fuseQkvParams: false }, false],
    ["key_proj", { fuseQkvParams: false }, true],
    ["value_proj", { fuseQkvParams: false }, true],
    ["out_proj", {}, true],
  ])("keeps %s under %o, cross %s", (name, options, cross) => {
    const [loss, params] = attentionLoss(options, cross);
    const all = again(loss, params, nothingSaveable, "dot");
    expect(again(loss, params, saveOnlyTheseNames(name), "dot")).toBe(all - 1);
  });

  const module = (contextCheckpointName?: string) =>
    new DotProductAttention({
      ...heads,
      softmaxType: "learnable",
      ...(contextCheckpointName && { contextCheckpointName }),
    });
  const q = normals([2, 6, 2, 8]);
  const { params } = module().init(random.key(0), q, q, q);
  const lossOf =
    (name?: string): Loss =>
    (params, x) => {
      const q = x.reshape([2, 6, 2, 8]);
      return module(name)
        .apply({ params: params as never }, q, q, q)
        .sin()
        .sum();
    };

  test("contextCheckpointName names the result", () => {
    expect(again(lossOf(), params, saveOnlyTheseNames("context"), "attention")).toBe(0);
    expect(again(lossOf("mine"), params, saveOnlyTheseNames("context"), "attention")).toBe(1);
    expect(again(lossOf("mine"), params, saveOnlyTheseNames("mine"), "attention")).toBe(0);
  });
});

onEachDevice(() => {
  test("policies leave gradients as they are, bit for bit", () => {
    const run = (policy?: CheckpointPolicy) => gradientOf(layerLoss, policy)(layerParams, x) as [Tensor, any];
    const [value, grads] = run();
    for (const policy of [
      nothingSaveable,
      saveOnlyTheseNames("context"),
      saveOnlyTheseNames("combined_qkv_proj", "ffn1"),
    ]) {
      const [sameValue, sameGrads] = run(policy);
      expect(findBitDifference(sameValue, value)).toBeUndefined();
      for (const [name, kernel] of [
        ["attention", "qkv"],
        ["attention", "out"],
      ] as const)
        expect(findBitDifference(sameGrads[name][kernel].kernel, grads[name][kernel].kernel)).toBeUndefined();
      expect(findBitDifference(sameGrads.relpos_bias.rel_embedding, grads.relpos_bias.rel_embedding)).toBeUndefined();
    }
  });
});
