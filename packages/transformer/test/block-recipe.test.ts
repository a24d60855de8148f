/** Layers under a recipe from outside of the packages: a scale per block, which no layer knows of. */
import { fp8Autocast } from "@te/fp8";
import { DenseGeneral, LayerNormMLP, type Module, type Variables } from "@te/layers";
import { jit, random, type Tensor, tree, valueAndGrad } from "@te/tensor";
import { errorN, normals, onEachDevice, valuesOf } from "@te/testkit";
import { describe, expect, test } from "vitest";
import { BlockScaling } from "../../fp8/test/block-recipe.js";
import { TransformerLayer } from "../src/index.js";

const x = normals([2, 8, 64], { seed: "x" });
const layer = {
  hiddenSize: 64,
  mlpHiddenSize: 128,
  numAttentionHeads: 4,
  hiddenDropout: 0,
  attentionDropout: 0,
  intermediateDropout: 0,
};
// An element of e4m3 is off by up to 1 / 16; errors of products that follow each other add up.
const MODULES: [string, Module, limit: number][] = [
  ["DenseGeneral", new DenseGeneral({ features: [3, 16], useBias: true }), 0.05],
  ["LayerNormMLP", new LayerNormMLP({ intermediateDim: 96, activations: ["gelu", "linear"], useBias: true }), 0.09],
  ["TransformerLayer", new TransformerLayer(layer), 0.12],
];

onEachDevice(() => {
  describe.each(MODULES)("%s", (_, module, limit) => {
    const { params } = module.init(random.key(0), x) as Variables;
    const loss = (params: unknown, x: Tensor): [Tensor, Tensor] => {
      const y = [module.apply({ params } as Variables, x)].flat()[0] as Tensor;
      return [y.mul(normals(y.shape, { seed: "dy" })).sum(), y];
    };
    const step = jit(valueAndGrad(loss as never, { argnums: [0, 1], hasAux: true })) as (...args: unknown[]) => any;
    const run = (enabled: boolean): any => {
      const compute = () => {
        const [[, y], [dparams, dx]] = step(params, x);
        return { y, dx, params: dparams };
      };
      return fp8Autocast({ enabled, fp8Recipe: new BlockScaling() }, compute);
    };

    test("has no state", () => {
      const inside = fp8Autocast({ enabled: true, fp8Recipe: new BlockScaling() }, () => module.init(random.key(0), x));
      expect(Object.keys(inside)).not.toContain("fp8_metas");
    });

    test("values and gradients are those of high precision but for the rounding of FP8", () => {
      const exact = tree.leavesWithPath(run(false));
      const rounded = tree.leavesWithPath(run(true));
      expect(rounded.map(({ path }) => path)).toEqual(exact.map(({ path }) => path));
      rounded.forEach(({ path, leaf }, i) => {
        const error = errorN(valuesOf(leaf as Tensor).values, valuesOf(exact[i]!.leaf as Tensor).values);
        expect(error, path.join("/")).toBeLessThan(limit);
        // A bias of the last product sees gradients only as they are.
        if (path.at(-1) !== "bias" && path.at(-1) !== "wo_bias") expect(error, path.join("/")).toBeGreaterThan(1e-4);
      });
    });
  });
});
