/** C01: scales made from the tensor itself; against an oracle in float64, and against recorded results of the original. */
import "@te/kernels-cpu";
import { autocast, Float8CurrentScaling, fp8DotGeneral, productMetas, quantizeWith } from "@te/fp8";
import { type DType, grad, jit, type Tensor, tensor } from "@te/tensor";
import { expectError, fillArray, findBitDifference, normals, onEachDevice, readGolden, toTensor } from "@te/testkit";
import { describe, expect, test } from "vitest";
import { type Float8, float8Max } from "../src/index.js";

const FLT_MAX = 3.4028234663852886e38;

/** largest / amax, rounded once to float32. Both are float32 numbers, so that the float64 quotient rounds to the same. */
function scaleByHand(values: Float64Array, dtype: Float8): number {
  const amax = values.reduce((largest, v) => (Number.isNaN(v) || v > largest ? v : largest), 0);
  if (!(amax > 0 && Number.isFinite(amax))) return 1;
  return Math.min(Math.fround(float8Max(dtype) / amax), FLT_MAX);
}

const TYPES = ["float8_e4m3fn", "float8_e5m2"] as const;

onEachDevice((device) => {
  describe("C01", () => {
    const shapes = [[1], [33, 7], device === "reference" ? [16, 1616] : [512, 1616]];
    describe.each(TYPES)("%s", (dtype) => {
      test.each(["float32", "bfloat16", "float16"] as const)("normal numbers of %s", async (of: DType) => {
        for (const shape of shapes) {
          const x = toTensor(fillArray({ kind: "normal", shape, dtype: of }, `${shape}`));
          const { q, scaleInv, amax } = quantizeWith(null, x, dtype);
          const magnitudes = (await x.values()).map(Math.abs);
          const scale = scaleByHand(magnitudes, dtype);
          expect(await scaleInv.toArray()).toEqual([Math.fround(1 / scale)]);
          expect(await amax.toArray()).toEqual([magnitudes.reduce((a, b) => Math.max(a, b))]);
          const scaled = x.astype("float32").mul(scale);
          expect(findBitDifference(q, scaled.astype(dtype, { saturate: true }))).toBeUndefined();
          // The largest element becomes the largest value.
          expect((await q.values()).reduce((a, b) => Math.max(a, Math.abs(b)), 0)).toBe(float8Max(dtype));
        }
      });
      test.each([
        ["zeros", [0, 0, -0], 1],
        ["an infinity", [1, Number.POSITIVE_INFINITY], 1],
        ["a NaN", [1, Number.NaN], 1],
        ["a denormal", [1e-40, -1e-41], FLT_MAX],
        ["nothing", [], 1],
      ] as const)("%s", async (_, values, scale) => {
        const { q, scaleInv } = quantizeWith(null, tensor([...values]), dtype);
        expect(await scaleInv.toArray()).toEqual([Math.fround(1 / scale)]);
        expect(q.size).toBe(values.length);
      });
    });

    const golden = readGolden("quantizers_current");
    test.each(golden.cases.map((of) => [of.id, of] as const))("recorded %s", async (_, of) => {
      const dtype = `float8_${of.options.qDtype}` as Float8;
      const { q, scaleInv } = quantizeWith(null, golden.tensor(of, "in/x"), dtype);
      expect(await scaleInv.toArray()).toEqual(await golden.tensor(of, "out/rowwise/scale_inv").toArray());
      // The original ran where subnormal numbers count as zero.
      const x = await golden.tensor(of, "in/x").values();
      const recorded = await golden.tensor(of, "out/rowwise/data").data();
      const normal = (_: unknown, i: number) => !(x[i] && Math.abs(x[i]) < 2 ** -126);
      expect([...(await q.data())].filter(normal)).toEqual([...recorded].filter(normal));
    });
  });

  test("a product keeps no state, and its gradients are those of the rounded operands", async () => {
    const recipe = new Float8CurrentScaling();
    const metas = productMetas(recipe, () => expect.fail("no variables"));
    const [x, w] = [normals([8, 32], { seed: 1 }), normals([32, 16], { seed: 2 })];
    const axes = { lhsContract: [1], rhsContract: [0] };
    const f = (a: Tensor, b: Tensor) => fp8DotGeneral(a, b, metas, axes, { recipe });
    const close = { rtol: 0.1, atol: 0.6 };
    const [plain, rounded] = [x.matmul(w), f(x, w)];
    expect(rounded).toBeAllclose(plain, close);
    expect(await rounded.toArray()).not.toEqual(await plain.toArray());
    const [dx, dw] = jit(grad((a: Tensor, b: Tensor) => f(a, b).sum(), { argnums: [0, 1] }))(x, w);
    const [px, pw] = grad((a: Tensor, b: Tensor) => a.matmul(b).sum(), { argnums: [0, 1] })(x, w);
    expect(dx).toBeAllclose(px, close);
    expect(dw).toBeAllclose(pw, close);
  });
});

test("the recipe has the original's default and refuses what it does not do", () => {
  const recipe = new Float8CurrentScaling();
  expect(recipe.fp8Format.name).toBe("HYBRID");
  expect(String(recipe)).toBe("Float8CurrentScaling(fp8Format=HYBRID)");
  expect(new Float8CurrentScaling({ fp8Format: "E4M3" }).fp8Format.backward).toBe("float8_e4m3fn");
  const make = (options: object) => () => new Float8CurrentScaling(options);
  expectError("option", /fp8Format must be .*E5M2/, make({ fp8Format: "E5M2" }));
  expectError("unsupported", /usePower2Scales must be false.*got true/, make({ usePower2Scales: true }));
  expectError("unsupported", /amaxEpsilon must be 0.*got 0.1/, make({ amaxEpsilon: 0.1 }));
  expectError("unsupported", /fp8Dpa must be false/, make({ fp8Dpa: true }));
  expectError("unsupported", /backwardOverride must be null/, make({ backwardOverride: "high_precision" }));
  expectError("option", /amaxHistoryLen/, make({ amaxHistoryLen: 4 }));
  expect(autocast({ enabled: true, recipe }, () => 1)).toBe(1);
});
