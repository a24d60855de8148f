/** G01: products in every layout. N03: norms that write FP8. */
import { quantizeOp } from "@te/fp8";
import { layerNormOp, layerNormQuantizeOp, rmsNormOp, rmsNormQuantizeOp } from "@te/layers";
import { dot, type Tensor, tensor } from "@te/tensor";
import { FLOATS } from "@te/tensor/op";
import { findCodeDifference, judgeFunction, limitOf, normals, onEachDevice } from "@te/testkit";
import { describe, expect, test } from "vitest";

const host = (t: Tensor) => ({ shape: t.shape, dtype: t.dtype, data: t.dataSync() });

onEachDevice((device) => {
  describe.each([
    [64, 32, 64],
    [32, 32, 32],
    // The reference is too slow for it.
    ...(device === "reference" ? [] : [[256, 256, 512]]),
  ])("G01 %i × %i × %i", (m, n, k) => {
    describe.each(FLOATS)("%s", (dtype) => {
      test.each(["NN", "NT", "TN", "TT"])("%s", (layout) => {
        const [isLeft, isRight] = [...layout].map((letter) => letter === "T");
        const a = normals(isLeft ? [k!, m!] : [m!, k!], { dtype, seed: "a" });
        const b = normals(isRight ? [n!, k!] : [k!, n!], { dtype, seed: "b" });
        const axes = { lhsContract: [isLeft ? 0 : 1], rhsContract: [isRight ? 1 : 0], dtype };
        judgeFunction(({ a, b }) => dot(a, b, axes), { a, b }, { limit: (_, dtype) => limitOf("gemm", dtype) });
      });
    });
  });

  describe.each(FLOATS)("N03 %s", (dtype) => {
    const x = normals([64, 256], { dtype });
    const gamma = normals([256], { dtype, seed: "gamma" });
    const beta = normals([256], { dtype, seed: "beta" });
    const scale = tensor([37.5]);
    const wide = x.astype("float32");
    const KINDS = {
      layernorm: [
        () => layerNormQuantizeOp({ x, gamma, beta, scale }, {}),
        () => layerNormOp({ x: wide, gamma, beta }, {}).y,
      ],
      "layernorm, zero-centred": [
        () => layerNormQuantizeOp({ x, gamma, beta, scale }, { zeroCenteredGamma: true }),
        () => layerNormOp({ x: wide, gamma, beta }, { zeroCenteredGamma: true }).y,
      ],
      rmsnorm: [() => rmsNormQuantizeOp({ x, gamma, scale }, {}), () => rmsNormOp({ x: wide, gamma }, {}).y],
    } as const;
    test.each(Object.entries(KINDS))("%s: the codes of norm in float32, then quantize", (_, [fused, norm]) => {
      const { q, amax } = fused();
      const separate = quantizeOp({ x: norm(), scale }, { dtype: "float8_e4m3fn" });
      expect(findCodeDifference(host(q), host(separate.q), 1e-4)).toBeUndefined();
      expect(amax.dataSync()[0]).toBeCloseTo(Number(separate.amax.dataSync()[0]), 5);
      // A norm that is off by one FP8 rounding would be seen.
      const coarse = quantizeOp({ x: norm().mul(1.02), scale }, { dtype: "float8_e4m3fn" });
      expect(findCodeDifference(host(coarse.q), host(separate.q), 1e-4)).toBeDefined();
    });
  });
});
