/** Kernels in FP8 for inference: what they are rounded to, and that layers compute with them what they do with the wide ones. */
import { DelayedScaling, dequantize, fp8Autocast } from "@te/fp8";
import { div, random, type Tensor, tree } from "@te/tensor";
import { expectError, findBitDifference, normals, onEachDevice } from "@te/testkit";
import { expect, test } from "vitest";
import {
  DenseGeneral,
  LayerNormDenseGeneral,
  LayerNormMLP,
  Module,
  quantizeKernels,
  type Variables,
} from "../src/index.js";

const recipe = new DelayedScaling({ amaxHistoryLen: 4 });
const inFp8 = <T>(body: () => T): T => fp8Autocast({ enabled: true, fp8Recipe: recipe }, body);

class Model extends Module {
  private readonly dense = new DenseGeneral({ features: [2, 16], useBias: true });
  private readonly normed = new LayerNormDenseGeneral({ features: 32 });
  private readonly mlp = new LayerNormMLP({ intermediateDim: 64, useBias: true });

  call(x: Tensor): Tensor {
    const [y] = this.normed.call(this.dense.call(x).reshape([4, 32]));
    return this.mlp.call(y, { deterministic: true })[0];
  }
}

const model = new Model();
const x = normals([4, 48], { dtype: "bfloat16" });
const made = (): Variables => inFp8(() => model.init(random.key(0), x));
const KERNELS = [
  ["dense", "kernel", "kernel_scale"],
  ["normed", "kernel", "kernel_scale"],
  ["mlp", "wi_kernel", "kernel_0_scale"],
  ["mlp", "wo_kernel", "kernel_1_scale"],
] as const;

onEachDevice(() => {
  test("kernels are rounded with their own largest magnitude; nothing else changes", async () => {
    const variables = made();
    const quantized: any = quantizeKernels(variables, recipe);
    for (const [module, name, scale] of KERNELS) {
      const kernel = (variables.params[module] as any)[name] as Tensor;
      const q: Tensor = quantized.params[module][name];
      expect(q.dtype).toBe("float8_e4m3fn");
      const scaleInv = div(1, quantized.fp8_metas[module][scale]);
      // Three bits of mantissa; the smallest codes are further apart.
      expect(dequantize({ q, scaleInv })).toBeAllclose(kernel, { rtol: 2 ** -4, atol: 1e-5 });
      expect(await q.astype("float32").abs().max().item()).toBe(448);
    }
    const rest = (v: any) =>
      tree
        .leavesWithPath({ ...v, params_axes: null })
        .filter(({ path }) => !/kernel$|kernel_(\d_)?scale$/.test(path.join("/")));
    expect(rest(quantized).map(({ leaf }) => leaf)).toEqual(rest(variables).map(({ leaf }) => leaf));
  });

  test("layers compute what they compute of wide kernels with those scales", () => {
    const variables = made();
    const { params, fp8_metas } = quantizeKernels(variables, recipe);
    const kept = inFp8(() => model.apply({ params, fp8_metas }, x)) as Tensor;
    const wide = inFp8(() => model.apply({ params: variables.params, fp8_metas }, x)) as Tensor;
    expect(findBitDifference(kept, wide)).toBeUndefined();
  });
});

test("variables without FP8 state, of another recipe, or rounded before are errors", () => {
  const plain = model.init(random.key(0), x);
  expectError("state", /^quantizeKernels: variables must have fp8_metas/, () => quantizeKernels(plain));
  expectError("option", /^quantizeKernels: recipe must be a DelayedScaling/, () =>
    quantizeKernels(made(), {} as never),
  );
  const twice = () => quantizeKernels(quantizeKernels(made()));
  expectError("state", /^quantizeKernels: kernel must be a kernel in high precision/, twice);
});
