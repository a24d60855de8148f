/** X01: the transformer layer and all of its gradients against float64, under eight sets of options; X03 in FP8. */
import { DelayedScaling, Float8CurrentScaling, fp8Autocast } from "@te/fp8";
import { type DType, jit, random, type Tensor, tree, valueAndGrad } from "@te/tensor";
import {
  errorN,
  findBitDifference,
  judgeFunction,
  limitOf,
  maskOf,
  normals,
  onEachDevice,
  perturbed,
  type Row,
  valuesOf,
} from "@te/testkit";
import { describe, expect, test } from "vitest";
import { RelativePositionBiases, TransformerLayer, type TransformerLayerOptions } from "../src/index.js";

const sets: [string, TransformerLayerOptions][] = [
  ["rmsnorm", { layernormType: "rmsnorm", useBias: true }],
  ["zero-centred gamma, epsilon", { zeroCenteredGamma: true, layernormEpsilon: 1e-2 }],
  ["gated", { mlpActivations: ["silu", "linear"], selfAttnMaskType: "no_mask" }],
  ["grouped heads", { numGqaGroups: 2, scaleAttnLogits: true, useBias: true }],
  ["RoPE", { enableRotaryPosEmb: true, enableRelativeEmbedding: false }],
  ["residual after the norm", { applyResidualConnectionPostLayernorm: true, outputLayernorm: true }],
  [
    "relative bias, padding",
    { enableRelativeEmbedding: true, selfAttnMaskType: "padding_causal", transposeBatchSequence: true },
  ],
  ["window", { windowSize: [4, 2], selfAttnMaskType: "no_mask", fuseQkvParams: false }],
];

const [BATCH, LENGTH, HIDDEN] = [2, 24, 32];
const base = { hiddenSize: HIDDEN, mlpHiddenSize: 64, numAttentionHeads: 4, hiddenDropout: 0, attentionDropout: 0 };
const padding = maskOf([BATCH, LENGTH, LENGTH], (b, _, j) => j >= LENGTH - 5 * b);

const rowOf = (name: string): Row => {
  if (name === "y") return "layer";
  if (name === "x") return "layerInput";
  return name.endsWith("kernel") ? "layerWeight" : "layerNormParameter";
};

function setUp(options: TransformerLayerOptions, dtype: DType) {
  const layer = new TransformerLayer({ ...base, ...options, dtype });
  const x = normals(options.transposeBatchSequence ? [LENGTH, BATCH, HIDDEN] : [BATCH, LENGTH, HIDDEN], { dtype });
  const mask = options.selfAttnMaskType?.startsWith("padding") ? padding : null;
  const variables: any = layer.init(random.key(0), x, null, mask);
  const call = (variables: any, x: Tensor): Tensor => layer.apply(variables, x, null, mask);
  return { call, x, variables: { ...variables, params: perturbed(variables.params, dtype) } };
}

onEachDevice((device) => {
  const dtypes = device === "reference" ? (["float32"] as const) : (["float32", "bfloat16", "float16"] as const);
  describe.each(sets)("X01 %s", (_, options) => {
    test.each(dtypes)("%s", (dtype) => {
      const { call, x, variables } = setUp(options, dtype);
      const limit = (name: string, dtype: DType) => limitOf(rowOf(name), dtype);
      // What enters twice, as residual and through the branches, would hide errors of the branches: y - x is judged.
      const branch = ({ x, params }: { x: Tensor; params: unknown }) => {
        const y = call({ params }, x);
        return options.outputLayernorm ? y : y.astype("float32").sub(x.astype("float32"));
      };
      const limitFor = (name: string, given: DType) => limit(name, name === "y" ? dtype : given);
      judgeFunction(branch, { x, params: variables.params }, { limit: limitFor });
    });

    test("jit gives the bits of eager", () => {
      const { call, x, variables } = setUp(options, "float32");
      const both = (p: any, x: Tensor) => valueAndGrad((p: any) => call({ params: p }, x).mul(0.1).sum())(p);
      const [value, grads] = both(variables.params, x);
      const [again, gradsAgain] = jit(both)(variables.params, x);
      expect(findBitDifference(again, value)).toBeUndefined();
      const compiled = tree.leaves(gradsAgain);
      tree.leavesWithPath(grads).forEach(({ path, leaf }, i) => {
        expect(findBitDifference(compiled[i]!, leaf), path.join("/")).toBeUndefined();
      });
      expect(findBitDifference(jit(call)(variables, x), call(variables, x))).toBeUndefined();
    });
  });

  describe.each([sets[0]!, sets[2]!, sets[3]!])("X03 %s, after four steps", (_, options) => {
    const recipes = [new DelayedScaling({ amaxHistoryLen: 4 }), new Float8CurrentScaling()];
    test.each(recipes)("FP8 is there, and within its noise of high precision: %s", (recipe) => {
      const { call, x } = setUp(options, "float32");
      const dy = normals(x.shape, { seed: "dy" });
      const run = (variables: any) =>
        valueAndGrad(
          (v: any, x: Tensor) => {
            const y = call(v, x);
            return [y.mul(dy).sum(), y];
          },
          { argnums: [0, 1], hasAux: true },
        )(variables, x);
      const [y, exact, grads, exactGrads] = fp8Autocast({ enabled: true, fp8Recipe: recipe }, () => {
        let { variables } = setUp(options, "float32");
        for (let t = 0; t < 4; t++) variables = { ...variables, fp8_metas: run(variables)[1][0].fp8_metas };
        const [[, y], [dv, dx]] = run(variables) as any;
        const [[, exact], [ev, ex]] = fp8Autocast({ enabled: false }, () => run({ params: variables.params })) as any;
        return [y, exact, { x: dx, ...dv.params }, { x: ex, ...ev.params }];
      });
      const branch = (t: Tensor) => valuesOf(t.sub(x)).values;
      const error = errorN(branch(y), branch(exact));
      expect(error).toBeGreaterThan(1e-3);
      expect(error).toBeLessThan(limitOf("layerFp8", "float32").n);
      const references = tree.leaves(exactGrads);
      tree.leavesWithPath(grads).forEach(({ path, leaf }, i) => {
        const name = path.join("/");
        const row = {
          layer: "layerFp8",
          layerInput: "layerFp8Input",
          layerWeight: "layerFp8Weight",
          layerNormParameter: "layerFp8NormParameter",
        } as const;
        const limit = limitOf(row[rowOf(name) as keyof typeof row], "float32");
        expect(errorN(valuesOf(leaf).values, valuesOf(references[i]!).values), name).toBeLessThan(limit.n);
      });
    });
  });
});

test("a layer as text shows the options given that are not the defaults", () => {
  const relativeEmbedding = new RelativePositionBiases({ numBuckets: 8, maxDistance: 16, numHeads: 4 });
  const layer = new TransformerLayer({ hiddenSize: 64, numHeads: 4, hiddenDropout: 0.1, relativeEmbedding });
  const inner = "RelativePositionBiases { numBuckets: 8, maxDistance: 16, numHeads: 4 }";
  expect(String(layer)).toBe(`TransformerLayer { hiddenSize: 64, numHeads: 4, relativeEmbedding: ${inner} }`);
});
