/** Checkpointing: what each policy computes again, counted in the program, and that gradients keep their bits. */
import { DelayedScaling, fp8Autocast } from "@te/fp8";
import {
  type CheckpointPolicy,
  checkpoint,
  checkpointName,
  checkpointPolicies,
  dot,
  jit,
  makeProgram,
  random,
  type Tensor,
  valueAndGrad,
} from "@te/tensor";
import { bits, normals, onEachDevice } from "@te/testkit";
import { describe, expect, test } from "vitest";
import {
  checkpointDotsAndTeGemms,
  DenseGeneral,
  dotsAndTeGemmsWithNoBatchDims,
  LayerNormMLP,
  teGemmsSaveable,
} from "../src/index.js";

const { nothingSaveable, everythingSaveable, dotsSaveable, dotsWithNoBatchDimsSaveable } = checkpointPolicies;
const { saveOnlyTheseNames, saveAnyNamesButThese, saveAnythingExceptTheseNames } = checkpointPolicies;

const x = normals([3, 4, 8]);
const dense = new DenseGeneral({ features: 8 });
const mlp = new LayerNormMLP({ intermediateDim: 16, quantizationCheckpointName: "quantized" });
const matrix = normals([8, 8], { seed: "matrix" });
const variables = {
  dense: dense.init(random.key(0), x),
  mlp: mlp.init(random.key(1), x),
};

/**
 * Four products, one after another, and a sine after each, whose derivative needs the product's result: a layer's, two of
 * an MLP, a plain one, and one with a batch axis.
 */
function network(given: any, x: Tensor): Tensor {
  const a = checkpointName(dense.apply(given.dense, x), "first").sin();
  const b = mlp.apply(given.mlp, a)[0].sin();
  const c = checkpointName(dot(b, given.matrix, { lhsContract: [2], rhsContract: [0] }), "plain").sin();
  return dot(c, c, { lhsContract: [2], rhsContract: [2], lhsBatch: [0], rhsBatch: [0] }).sin();
}

const given = { ...variables, matrix };
const gradientOf =
  (policy?: CheckpointPolicy) =>
  (given: any, x: Tensor): unknown => {
    const f = policy ? checkpoint(network, { policy }) : network;
    return valueAndGrad((given: any, x: Tensor) => f(given, x).sum(), { argnums: [0, 1] })(given, x);
  };

/** Nodes of these ops in the program of the gradient. */
const count = (policy: CheckpointPolicy | undefined, given: any, ...ops: string[]): number =>
  makeProgram(gradientOf(policy))(given, x).nodes.filter(({ op }) => ops.includes(op.name)).length;

const recomputed = (policy: CheckpointPolicy, given: any, ...ops: string[]): number =>
  count(policy, given, ...ops) - count(undefined, given, ...ops);

describe("products that are computed again", () => {
  test.each<[string, CheckpointPolicy, number]>([
    ["nothingSaveable", nothingSaveable, 5],
    ["everythingSaveable", everythingSaveable, 0],
    ["dotsSaveable", dotsSaveable, 0],
    ["dotsWithNoBatchDimsSaveable", dotsWithNoBatchDimsSaveable, 1],
    ["teGemmsSaveable", teGemmsSaveable, 2],
    ["checkpointDotsAndTeGemms", checkpointDotsAndTeGemms, 0],
    ["dotsAndTeGemmsWithNoBatchDims", dotsAndTeGemmsWithNoBatchDims, 1],
    ["saveOnlyTheseNames ffn1, ffn2", saveOnlyTheseNames("ffn1", "ffn2"), 3],
    ["saveOnlyTheseNames first", saveOnlyTheseNames("first"), 4],
    ["saveAnyNamesButThese ffn1", saveAnyNamesButThese("ffn1", "te_gemm"), 2],
    ["saveAnythingExceptTheseNames plain", saveAnythingExceptTheseNames("plain"), 0],
  ])("%s: %o", (_, policy, expected) => expect(recomputed(policy, given, "dot")).toBe(expected));

  test("by default all are", () => {
    const of = (f: typeof network): number => {
      const loss = (given: any) => f(given, x).sum();
      return makeProgram(valueAndGrad(loss))(given).nodes.filter(({ op }) => op.name === "dot").length;
    };
    expect(of(checkpoint(network)) - of(network)).toBe(5);
  });
});

const recipe = new DelayedScaling({ amaxHistoryLen: 2 });
const inFp8 = <R>(f: () => R): R => fp8Autocast({ enabled: true, fp8Recipe: recipe }, f);
const givenFp8 = inFp8(() => ({ dense: dense.init(random.key(0), x), mlp: mlp.init(random.key(1), x), matrix }));

describe("FP8 products that are computed again", () => {
  test.each<[string, CheckpointPolicy, scaledDots: number, dots: number]>([
    ["nothingSaveable", nothingSaveable, 3, 2],
    ["dotsSaveable", dotsSaveable, 3, 0],
    ["teGemmsSaveable", teGemmsSaveable, 0, 2],
    ["checkpointDotsAndTeGemms", checkpointDotsAndTeGemms, 0, 0],
    ["dotsAndTeGemmsWithNoBatchDims", dotsAndTeGemmsWithNoBatchDims, 0, 1],
    ["saveOnlyTheseNames ffn1, ffn2", saveOnlyTheseNames("ffn1", "ffn2"), 1, 2],
  ])("%s", (_, policy, scaledDots, dots) =>
    inFp8(() => {
      expect(recomputed(policy, givenFp8, "scaled_dot"), "scaled_dot").toBe(scaledDots);
      expect(recomputed(policy, givenFp8, "dot"), "dot").toBe(dots);
    }),
  );

  test("quantizationCheckpointName keeps the four operands of an MLP", () =>
    inFp8(() => {
      const ops = ["quantize", "layer_norm"];
      // The two of the dense layer, which has no name, are made again, and the norm for its statistics.
      expect(recomputed(nothingSaveable, givenFp8, ...ops)).toBe(7);
      expect(recomputed(saveOnlyTheseNames("quantized"), givenFp8, ...ops)).toBe(3);
      const marks = makeNames();
      expect(marks.filter((name) => name === "quantized")).toHaveLength(12);
    }));

  /** The names that a policy is asked about. */
  function makeNames(): string[] {
    const names: string[] = [];
    const record: CheckpointPolicy = ({ name }) => {
      if (name) names.push(name);
      return false;
    };
    makeProgram(gradientOf(record))(givenFp8, x);
    return names;
  }
});

onEachDevice(() => {
  const policies = { nothingSaveable, dotsSaveable, teGemmsSaveable, ffn1: saveOnlyTheseNames("ffn1") };
  test.each(Object.entries(policies))("%s: the bits are those without checkpoint", (_, policy) => {
    for (const [given, scope] of [
      [{ ...variables, matrix }, (f: () => unknown) => f()],
      [givenFp8, inFp8],
    ] as const) {
      scope(() => {
        const plain = bits(jit(gradientOf())(given, x));
        expect(bits(jit(gradientOf(policy))(given, x))).toEqual(plain);
        expect(bits(gradientOf(policy)(given, x))).toEqual(plain);
      });
    }
  });
});
