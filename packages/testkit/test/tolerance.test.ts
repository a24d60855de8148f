/** Metrics and limits: what counts as equal, and which wrong results they must refuse. */
import { tensor } from "@te/tensor";
import { describe, expect, test } from "vitest";
import {
  errorN,
  errorX,
  expectClose,
  expectGradients,
  findBitDifference,
  findCodeDifference,
  findDifference,
  findGradientDifference,
  forSize,
  limitOf,
} from "../src/index.js";

const TIGHT = { n: 1e-6, x: 1e-6 };

describe("metrics", () => {
  test("N is the norm of the difference over the norm of the reference", () => {
    expect(errorN([3, 4.5], [3, 4])).toBeCloseTo(0.1, 12);
    expect(errorN([0, 0], [3, 4])).toBe(1);
  });

  test("X is the largest difference over the largest reference", () => {
    expect(errorX([1, -7], [2, -8])).toBe(1 / 8);
  });

  test("zero against zero is no error, anything else against zero is infinite", () => {
    expect([errorN([0], [0]), errorX([0], [0])]).toEqual([0, 0]);
    expect([errorN([1e-30], [0]), errorX([1e-30], [0])]).toEqual([Infinity, Infinity]);
  });

  test("one element may have twice the N of many", () => {
    expect(forSize({ n: 1, x: 1 }, 1)).toEqual({ n: 2, x: 1 });
    expect(forSize({ n: 1, x: 1 }, 1e8).n).toBeCloseTo(1, 3);
  });
});

describe("the table", () => {
  test("has the limits of the conformance cases", () => {
    expect(limitOf("gemm", "float32")).toEqual({ n: 2e-6, x: 1e-5 });
    expect(limitOf("norm", "bfloat16")).toEqual({ n: 3e-3, x: 1e-2 });
    expect(limitOf("attentionKeyValue", "bfloat16")).toEqual({ n: 8e-3, x: 2e-2 });
    expect(limitOf("layerNormParameter", "float16").n).toBe(3e-3);
    expect(() => limitOf("gemm", "int32")).toThrow("no limit for gemm in int32");
  });

  test("tells tanh-gelu from erf-gelu in float32, and not in bfloat16", () => {
    const x = Float64Array.from({ length: 2000 }, (_, i) => (i - 1000) / 250);
    const tanhGelu = x.map((v) => 0.5 * v * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (v + 0.044715 * v ** 3))));
    const wrong = tanhGelu.map((v, i) => v + 4.7e-4 * Math.exp(-((Math.abs(x[i]!) - 2.2) ** 2)));
    const judge = (dtype: "float32" | "bfloat16") =>
      findDifference(
        { shape: [2000], dtype, values: wrong },
        { shape: [2000], dtype, values: tanhGelu },
        limitOf("activation", dtype),
      );
    expect(judge("float32")).toContain("N = ");
    expect(judge("bfloat16")).toBeUndefined();
  });
});

describe("a result is refused for", () => {
  const reference = tensor([1, 2, 3]);
  const CASES: [string, ReturnType<typeof tensor>, string][] = [
    ["another shape", tensor([[1, 2, 3]]), "expected float32[3], got float32[1,3]"],
    ["another dtype", tensor([1, 2, 3], { dtype: "bfloat16" }), "expected float32[3], got bfloat16[3]"],
    ["NaN", tensor([1, Number.NaN, 3]), "element 1 must be 2, got NaN"],
    ["infinity", tensor([1, 2, Infinity]), "element 2 must be 3, got Infinity"],
    ["one element", tensor([1, 2, 3.1]), "element 2 is 3.0999999046325684 instead of 3"],
    ["all elements a little", tensor([1.00001, 2.00001, 3.00001]), "N = "],
  ];

  test.each(CASES)("%s", (_, actual, why) => {
    expect(findDifference(actual, reference, TIGHT)).toContain(why);
    expect(findDifference(reference, reference, TIGHT)).toBeUndefined();
  });

  test("X alone: one wrong element among many", () => {
    const many = new Float32Array(1e6).fill(1);
    const wrong = many.slice();
    wrong[500] = 1.02;
    expect(findDifference(tensor(wrong), tensor(many), { n: 1e-4, x: 1e-2 })).toContain("X = 2.0e-2");
  });

  test("infinity of the other sign, but not for the same infinity or NaN", () => {
    const odd = tensor([Infinity, Number.NaN, 1]);
    expect(findDifference(odd, odd, TIGHT)).toBeUndefined();
    expect(findDifference(tensor([-Infinity, Number.NaN, 1]), odd, TIGHT)).toContain("element 0 must be Infinity");
    expect(findDifference(tensor([Infinity, 0, 1]), odd, TIGHT)).toContain("element 1 must be NaN");
  });
});

describe("gradients", () => {
  test("a limit that zeros would pass is refused", () => {
    const tiny = tensor([1, 2, 3]);
    expect(findGradientDifference(tiny, tiny, { n: 1, x: 1 })).toContain("zeros would pass too");
    expect(findGradientDifference(tiny, tiny, TIGHT)).toBeUndefined();
  });

  test("a gradient that is zero by mathematics must be exactly zero", () => {
    const zero = tensor([0, 0]);
    expect(findGradientDifference(zero, zero, TIGHT)).toBeUndefined();
    expect(findGradientDifference(tensor([0, 1e-20]), zero, TIGHT)).toContain("N = ");
  });

  test("the set of names is compared first", () => {
    const t = tensor([1, 2]);
    expect(() => expectGradients({ x: t }, { x: t, bias: t }, "gemm")).toThrow("gradients must be of bias, x, got x");
    expect(() => expectGradients({ x: t, bias: tensor([0, 0]) }, { x: t, bias: t }, "gemm")).toThrow(
      "gradient of bias: N = ",
    );
    expectGradients({ x: t }, { x: t }, "gemm");
  });
});

describe("exact comparisons", () => {
  const codes = (...data: number[]) => ({
    shape: [data.length],
    dtype: "float8_e4m3fn" as const,
    data: Uint8Array.from(data),
  });

  test("codes", () => {
    expect(findCodeDifference(codes(1, 2), codes(1, 2))).toBeUndefined();
    expect(findCodeDifference(codes(1, 3), codes(1, 2))).toContain("(code 2), got 0.005859375 (code 3)");
    expect(findCodeDifference(codes(0x7f), codes(0xff)), "NaN is NaN").toBeUndefined();
    expect(findCodeDifference(codes(0x80), codes(0)), "-0 is not 0").toContain("code 128");
  });

  test("a share of the codes may be one apart when a case says so", () => {
    expect(findCodeDifference(codes(1, 3), codes(1, 2), 1e-4)).toBeUndefined();
    expect(findCodeDifference(codes(2, 3), codes(1, 2), 1e-4)).toBe("2 elements are one code apart, 1 may be");
    expect(findCodeDifference(codes(1, 4), codes(1, 2), 1e-4)).toContain("code 4");
  });

  test("bits", () => {
    expect(findBitDifference(tensor([0, 1]), tensor([0, 1]))).toBeUndefined();
    expect(findBitDifference(tensor([1, -0]), tensor([1, 0]))).toBe("element 1 must be the same bits: 0, got 0");
    expect(findBitDifference(tensor([1, 1 + 2 ** -23]), tensor([1, 1]))).toContain("element 1");
  });
});

describe("matchers", () => {
  test("toBeClose judges by row and dtype", () => {
    expect(tensor([1.001], { dtype: "bfloat16" })).toBeClose([1.001], "gemm");
    expect(() => expect(tensor([1.001])).toBeClose([1.0011], "gemm")).toThrow("N = 1.0e-4 (limit 2.0e-6)");
    expect(() => expectClose(tensor([1.001]), tensor([1.0011]), "gemm", "y")).toThrow("y: N = ");
  });

  test("toBeAllclose is numpy's", () => {
    expect(
      tensor([
        [1, 2],
        [3, 4],
      ]),
    ).toBeAllclose([
      [1, 2],
      [3, 4.00001],
    ]);
    expect(tensor([1.05])).toBeAllclose([1], { rtol: 0.1 });
    expect(() => expect(tensor([1, 2])).toBeAllclose([[1, 2]])).toThrow("expected shape [1,2], got [2]");
    expect(() => expect(tensor([1, 2])).toBeAllclose([1, 2.001])).toThrow("element 1 must be 2.001");
    expect(tensor([1, 2])).not.toBeAllclose([1, 3]);
  });
});
