/** N01: norms and their gradients against float64, and against numbers worked out by hand. */
import { type DType, full, random, type Tensor, tensor, vjp } from "@te/tensor";
import { FLOATS } from "@te/tensor/op";
import { judgeFunction, limitOf, normals, onEachDevice, perturbed } from "@te/testkit";
import { describe, expect, test } from "vitest";
import { LayerNorm, type LayerNormOptions, rmsNormOp } from "../src/index.js";

const kinds: LayerNormOptions[] = [
  { layernormType: "layernorm" },
  { layernormType: "layernorm", epsilon: 1e-2, zeroCenteredGamma: true },
  { layernormType: "rmsnorm", epsilon: 1e-2 },
];
const limit = (name: string, dtype: DType) => limitOf(name.startsWith("params") ? "normParameters" : "norm", dtype);

function check(options: LayerNormOptions, shape: number[], dtype: DType): void {
  const module = new LayerNorm({ ...options, dtype });
  const x = normals(shape, { dtype });
  const params = perturbed(module.init(random.key(0), x).params, dtype);
  judgeFunction(({ x, params }) => module.apply({ params }, x), { x, params }, { limit });
}

onEachDevice((device) => {
  describe.each(kinds)("N01 $layernormType, epsilon $epsilon, zero-centred $zeroCenteredGamma", (options) => {
    test.each(FLOATS)("%s", (dtype) => {
      for (const shape of [
        [256, 128],
        [71, 229],
        [29, 541],
      ])
        check(options, shape, dtype);
    });
    // The reference takes seconds for it, and tells nothing more.
    if (device !== "reference") test("768 × 1536", () => check(options, [768, 1536], "bfloat16"));
  });

  test.each([
    [{ epsilon: 1e-6 }, [-1.0257552, -0.2263767, 0.1865009, 0.5852581]],
    [{ epsilon: 1e-2 }, [-1.0250425, -0.2261499, 0.1863714, 0.5841565]],
    [{ epsilon: 1e-6, zeroCenteredGamma: true }, [-2.0515104, -0.87913, 0.2797514, 2.1705161]],
    [{ epsilon: 1e-6, layernormType: "rmsnorm" }, [0.2169305, 0.2169305, 1.7354436, 1.7354436]],
    [{ epsilon: 1e-2, layernormType: "RMS_Norm" }, [0.2168794, 0.2168794, 1.7350355, 1.7350355]],
  ] as const)("vectors %o", (options, expected) => {
    const params = { scale: tensor([1, 0.5, 2, 1]), ln_bias: tensor([0, 0.1, 0, -1]) };
    expect(new LayerNorm(options).apply({ params }, tensor([1, 2, 4, 8]))).toBeAllclose(expected, { atol: 1e-6 });
  });

  test("a mean much larger than the deviation costs no digits", () => {
    const x = normals([8, 1024]).add(1e4);
    const module = new LayerNorm();
    const params = perturbed(module.init(random.key(0), x).params, "float32");
    judgeFunction(({ x, params }) => module.apply({ params }, x), { x, params }, { limit });
  });

  test("rows whose squares exceed float32 give zeros and no gradient", () => {
    const x = tensor([
      [1e38, 3e38, -2e38, 1],
      [3.4e38, 3.4e38, 3.4e38, 3.4e38],
    ]);
    const ones = full([4], 1);
    const [y, pull] = vjp((x: Tensor, gamma: Tensor) => rmsNormOp({ x, gamma }).y, x, ones);
    for (const t of [y, ...(pull(full([2, 4], 2)) as Tensor[])])
      expect(new Set(Array.from(t.dataSync(), Math.abs))).toEqual(new Set([0]));
  });
});
