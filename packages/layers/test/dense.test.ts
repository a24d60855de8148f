/** L01: dense layers and their gradients against float64. */
import { type DType, random } from "@te/tensor";
import { FLOATS } from "@te/tensor/op";
import { judgeFunction, limitOf, normals, onEachDevice, perturbed } from "@te/testkit";
import { describe, test } from "vitest";
import { DenseGeneral, type DenseGeneralOptions, LayerNormDenseGeneral } from "../src/index.js";

const limit = (name: string, dtype: DType) => limitOf(name.endsWith("bias") ? "composed" : "gemm", dtype);

/** The row of a bfloat16 product holds when parameters have the dtype of the input: nothing else rounds. */
function check(options: DenseGeneralOptions, shape: number[], dtype: DType): void {
  const module = new DenseGeneral({ ...options, dtype });
  const x = normals(shape, { dtype });
  const params = perturbed(module.init(random.key(0), x).params, dtype);
  judgeFunction(({ x, params }) => module.apply({ params }, x), { x, params }, { limit });
}

onEachDevice(() => {
  describe.each(FLOATS)("L01 dense grad, %s", (dtype) => {
    test("64 × 128 × 128", () => check({ features: 128, useBias: true }, [64, 128], dtype));
    test("128 × 512 × 256", () => check({ features: 256, useBias: true }, [4, 32, 512], dtype));
    test("several contracted axes and features", () =>
      check({ features: [3, 8], axis: [1, -1], useBias: true }, [5, 6, 2, 16], dtype));
    test("one row", () => check({ features: 5, useBias: true }, [1, 7], dtype));
  });

  test("a norm and a product, float32", () => {
    const module = new LayerNormDenseGeneral({ features: 48, useBias: true, depthScaling: 2 });
    const x = normals([6, 7, 32]);
    const params = perturbed(module.init(random.key(0), x).params);
    const row = { limit: (_: string, dtype: DType) => limitOf("composed", dtype) };
    judgeFunction(({ x, params }) => module.apply({ params }, x)[0], { x, params }, row);
  });
});
