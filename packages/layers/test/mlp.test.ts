/** M01: LayerNormMLP against float64; its fused FP8 form against its parts, one after the other. */
import { DelayedScaling, fp8Autocast } from "@te/fp8";
import { type DType, random, type Tensor, tensor, tree, valueAndGrad } from "@te/tensor";
import { errorN, judgeFunction, limitOf, normals, onEachDevice, perturbed, valuesOf } from "@te/testkit";
import { describe, expect, test } from "vitest";
import { LayerNormMLP, type LayerNormMLPOptions } from "../src/index.js";

const recipe = new DelayedScaling({ amaxHistoryLen: 4 });
const inFp8 = <R>(f: () => R): R => fp8Autocast({ enabled: true, fp8Recipe: recipe }, f);

const kinds: LayerNormMLPOptions[] = [
  { activations: ["gelu"], useBias: true },
  { activations: ["gelu", "linear"], layernormType: "rmsnorm" },
  { activations: ["silu", "linear"], useBias: true, zeroCenteredGamma: true },
  {
    activations: ["clamped_silu", "clamped_linear"],
    activationParams: { limit: 0.7, alpha: 1.3, gluLinearOffset: 0.5 },
  },
  { activations: ["relu", "silu", "linear"], enableLayernorm: false },
];

onEachDevice((device) => {
  describe.each(kinds)("M01 $activations, bias $useBias", (options) => {
    // The derivative of a clamp jumps, and bfloat16 moves many elements across the jump.
    const dtypes = options.activationParams ? (["float32"] as const) : (["float32", "bfloat16"] as const);
    test.each(dtypes)("%s", (dtype) => {
      const module = new LayerNormMLP({ intermediateDim: 128, dtype, ...options });
      const x = normals([4, 16, 64], { dtype });
      const params = perturbed(module.init(random.key(0), x).params, dtype);
      const limit = (name: string, dtype: DType) =>
        limitOf(/scale|bias/.test(name) ? "layerNormParameter" : "composed", dtype);
      judgeFunction(({ x, params }) => module.apply({ params }, x)[0], { x, params }, { limit });
    });
  });

  // The parts round to the dtype of x between them, which in float32 changes nothing.
  describe.each(kinds.slice(0, 4))("M01 fp8, fused = composed: $activations, bias $useBias", (options) => {
    test("values, gradients and metas of three steps", () => {
      const fused = new LayerNormMLP({ intermediateDim: 64, ...options });
      const parts = new LayerNormMLP({ intermediateDim: 64, ...options, returnLayernormOutput: true });
      inFp8(() => {
        const x = normals([32, 48]);
        const variables: any = fused.init(random.key(0), x);
        const params = perturbed(variables.params);
        let metas = [variables.fp8_metas, variables.fp8_metas];
        for (let t = 0; t < 3; t++) {
          const dy = normals([32, 48], { seed: `dy${t}` });
          const steps = [fused, parts].map((module, i) => {
            const loss = (variables: any, x: Tensor) => {
              const [y] = module.apply(variables, x);
              return [y.mul(dy).sum(), y] as const;
            };
            const given = { params, fp8_metas: metas[i] };
            const [[, y], [grads, dx]] = valueAndGrad(loss, { argnums: [0, 1], hasAux: true })(given, x);
            return { y, dx, ...grads };
          });
          expectSame(steps[0]!, steps[1]!, device === "reference" ? 1e-6 : 0.02, `step ${t}`);
          metas = steps.map(({ fp8_metas }) => fp8_metas);
        }
      });
    });
  });

  test("an adapter sees the norm's output, in FP8 too", () => {
    const options = { intermediateDim: 64, enableLowRankAdaptation: true, lowRankAdaptationDim: 4 };
    const x = normals([32, 48], { std: 3 }).add(2);
    const module = new LayerNormMLP(options);
    const plain = new LayerNormMLP({ intermediateDim: 64 });
    inFp8(() => {
      const variables: any = module.init(random.key(0), x);
      const [without] = plain.apply(variables, x);
      const [zeroAdapter] = module.apply(variables, x);
      expect(errorN(valuesOf(zeroAdapter).values, valuesOf(without).values)).toBeLessThan(0.02);
      const b = normals(variables.params.wi_lora_b_kernel.shape, { seed: "b" });
      const changed = { ...variables, params: { ...variables.params, wi_lora_b_kernel: b } };
      const scaled = module.apply(changed, x.mul(5))[0];
      // A norm forgets the scale of its input; an adapter on the raw input would not.
      expect(errorN(valuesOf(scaled).values, valuesOf(module.apply(changed, x)[0]).values)).toBeLessThan(0.02);
      expect(errorN(valuesOf(module.apply(changed, x)[0]).values, valuesOf(without).values)).toBeGreaterThan(0.05);
    });
  });
});

function expectSame(a: Record<string, unknown>, b: Record<string, unknown>, limit: number, what: string): void {
  const [left, right] = [a, b].map((given) => tree.leavesWithPath(given));
  expect(left!.map(({ path }) => path)).toEqual(right!.map(({ path }) => path));
  left!.forEach(({ path, leaf }, i) => {
    const error = errorN(valuesOf(leaf).values, valuesOf(right![i]!.leaf).values);
    expect(error, `${what}: ${path.join("/")}`).toBeLessThan(limit);
  });
}

onEachDevice(() => {
  test("the gradient of the pre-activation goes to FP8 from float32: its amax is no bfloat16", () =>
    inFp8(() => {
      const x = normals([4, 16, 32], { dtype: "bfloat16" });
      const module = new LayerNormMLP({ intermediateDim: 32, activations: ["silu", "linear"], dtype: "bfloat16" });
      const { params, fp8_metas } = module.init(random.key(0), x) as any;
      const dy = normals([4, 16, 32], { seed: "dy" });
      const loss = (variables: any): Tensor => module.apply(variables, x)[0].astype("float32").mul(dy).sum();
      const [, grads] = valueAndGrad(loss)({ params, fp8_metas }) as any;
      const history = grads.fp8_metas.grad_0_amax_history as Tensor;
      const amax = history.dataSync().at(-1)!;
      expect(amax).toBeGreaterThan(0);
      expect(valuesOf(tensor([amax], { dtype: "bfloat16" })).values[0]).not.toBe(amax);
    }));
});
