/** Where FP8 state exists, who changes it, and that FP8 is really there. */
import { DelayedScaling, fp8Autocast } from "@te/fp8";
import { full, jit, random, type Tensor, tree, valueAndGrad } from "@te/tensor";
import { bits, errorN, expectClose, expectError, normals, onEachDevice, valuesOf } from "@te/testkit";
import { describe, expect, test } from "vitest";
import { DenseGeneral, LayerNormDenseGeneral, LayerNormMLP, type Module } from "../src/index.js";

const recipe = new DelayedScaling({ amaxHistoryLen: 4 });
const inFp8 = <R>(f: () => R): R => fp8Autocast({ enabled: true, fp8Recipe: recipe }, f);
const first = (result: Tensor | Tensor[]): Tensor => (Array.isArray(result) ? result[0]! : result);
const x = normals([8, 32], { dtype: "bfloat16" });

const modules: [string, () => Module][] = [
  ["DenseGeneral", () => new DenseGeneral({ features: 16, useBias: true })],
  ["LayerNormDenseGeneral", () => new LayerNormDenseGeneral({ features: 16 })],
  ["LayerNormMLP", () => new LayerNormMLP({ intermediateDim: 64, activations: ["silu", "linear"] })],
  ["LayerNormMLP with its norm's output", () => new LayerNormMLP({ intermediateDim: 64, returnLayernormOutput: true })],
  ["LayerNormMLP without norm", () => new LayerNormMLP({ intermediateDim: 64, enableLayernorm: false })],
];

/** Metas as they are after some steps of training, the variables around them, and the gradients of the last step. */
function warm(module: Module, steps = 4): { variables: any; grads: any } {
  let variables: any = module.init(random.key(0), x);
  let grads: any;
  for (let t = 0; t < steps; t++) {
    grads = valueAndGrad((v: any) => first(module.apply(v, x)).astype("float32").mul(0.1).sum())(variables)[1];
    variables = { ...variables, fp8_metas: grads.fp8_metas };
  }
  return { variables, grads };
}

onEachDevice((device) => {
  describe.each(modules)("%s", (_, make) => {
    const module = make();

    test("has no metas outside of autocast, nor in one that is off", () => {
      expect(module.init(random.key(0), x).fp8_metas).toBeUndefined();
      fp8Autocast({ enabled: false }, () => expect(module.init(random.key(0), x).fp8_metas).toBeUndefined());
    });

    test("init outside and apply inside of autocast is an error that says so", () => {
      const variables = module.init(random.key(0), x);
      inFp8(() =>
        expectError(
          "state",
          /variable fp8_metas\/x.*_scale does not exist.*Call init inside the same fp8Autocast/,
          () => module.apply(variables, x),
        ),
      );
    });

    test("the result differs from high precision by FP8's noise: more than 1e-3, less than .09", () => {
      const { variables } = inFp8(() => warm(module));
      const exact = valuesOf(first(module.apply(variables, x))).values;
      const rounded = valuesOf(inFp8(() => first(module.apply(variables, x)))).values;
      const error = errorN(rounded, exact);
      expect(error).toBeGreaterThan(1e-3);
      expect(error).toBeLessThan(0.09);
    });

    test("evaluation leaves metas alone, training changes each of them", () => {
      inFp8(() => {
        const variables: any = module.init(random.key(0), x);
        const before = bits(variables);
        module.apply(variables, x);
        jit((v: any) => module.apply(v, x))(variables);
        const [, changed] = module.apply(variables, x, { mutable: ["fp8_metas"] });
        expect(bits(changed.fp8_metas)).toEqual(bits(variables.fp8_metas));
        expect(bits(variables)).toEqual(before);
        const { grads } = warm(module, 1);
        for (const { path, leaf } of tree.leavesWithPath(grads.fp8_metas)) {
          expect([...leaf.dataSync()], path.join("/")).not.toEqual(path.at(-1)!.endsWith("scale") ? [1] : [0, 0, 0, 0]);
        }
      });
    });

    test("outside of autocast metas are ignored, and so a step keeps them", () => {
      const { variables } = inFp8(() => warm(module));
      const [, grads] = valueAndGrad((v: any) => first(module.apply(v, x)).astype("float32").sum())(variables);
      expect(bits(grads.fp8_metas)).toEqual(bits(variables.fp8_metas));
    });

    test("metas of other modules stay where they are", () => {
      inFp8(() => {
        const variables: any = module.init(random.key(0), x);
        const metas = { ...variables.fp8_metas, other: { x_scale: full([1], 7) } };
        const given = { ...variables, fp8_metas: metas };
        const [y, changed] = module.apply(given, x, { mutable: ["fp8_metas"] });
        expect(bits(changed.fp8_metas)).toEqual(bits(metas));
        expect(bits({ y: first(y) })).toEqual(bits({ y: first(module.apply(variables, x)) }));
      });
    });

    test("a history of another length than the recipe's is an error", () => {
      const variables = inFp8(() => module.init(random.key(0), x));
      const longer = new DelayedScaling({ amaxHistoryLen: 5 });
      fp8Autocast({ enabled: true, fp8Recipe: longer }, () =>
        expectError(
          "state",
          /amax_history must be float32\[5\], got float32\[4\]. Use a recipe with that amaxHistoryLen/,
          () => module.apply(variables, x),
        ),
      );
    });

    test("jit gives the bits of eager, and follows autocast in and out", () => {
      const { variables } = inFp8(() => warm(module));
      const call = jit((v: any, x: Tensor) => first(module.apply(v, x)));
      const [outer, eager] = [call(variables, x), first(module.apply(variables, x))];
      const outside = [...outer.dataSync()];
      const inside = inFp8(() => [...call(variables, x).dataSync()]);
      // A product with its activation, which jit makes one kernel on a GPU, does not round in between.
      if (device === "cuda") expectClose(outer, eager, "composed");
      else expect(outside).toEqual([...eager.dataSync()]);
      expect(inside).toEqual(inFp8(() => [...first(module.apply(variables, x)).dataSync()]));
      expect(inside).not.toEqual(outside);
    });
  });
});
