/** The bench of the GPU, in small on the emulator: what it judges, what it reports, and what it says of what it did not measure. */
process.env.TE_CUDA_EMULATED ??= "1";

import { cudaAvailable } from "@te/kernels-cuda";
import { currentBackend, full, pad, setDevice, type Tensor } from "@te/tensor";
import { describe, expect, test } from "vitest";
import { benchGpu, type GpuReport, planGpu } from "../src/gpu.js";
import { gpuCases, SMALL_SIZES } from "../src/gpu-cases.js";
import { judge, judgeFinite } from "../src/gpu-judge.js";

const { available } = cudaAvailable();

describe("estimates", () => {
  const before = currentBackend().name;
  const { estimates } = planGpu();
  const of = (what: string, dtype: string) => estimates.find((e) => e.what.startsWith(what) && e.dtype === dtype)!;

  test("are made without a GPU, and leave the device alone", () => {
    expect(currentBackend().name).toBe(before);
    expect(estimates.length).toBeGreaterThan(30);
    for (const { what, estimatedMs } of estimates) expect([what, estimatedMs >= 0]).toEqual([what, true]);
  });

  test("are the longer of two times", () => {
    expect(of("products: a · b", "bfloat16").estimatedMs).toBeCloseTo((2 * 4096 ** 3) / 989e9, 3);
    expect(of("memory: softmax", "bfloat16").estimatedMs).toBeCloseTo((2 * 2 * 16384 * 4096) / 3.35e9, 4);
  });

  test("are those of the program that a device compiles", () => {
    const { longest, kernels, estimatedTflops } = of("layer", "fp8");
    expect(longest[0]).toMatchObject({ op: "scaled_dot", kernels: 12 });
    expect(longest.map(({ op }) => op)).toContainEqual(expect.stringMatching(/^layer_norm_quantize/));
    expect(kernels).toBeGreaterThan(30);
    expect(estimatedTflops).toBeLessThan(1979);
    expect(of("layer", "bfloat16").estimatedMs).toBeGreaterThan(of("layer", "fp8").estimatedMs);
  });
});

describe.skipIf(!available)("the bench", () => {
  test("judges and times everything, and saves as it goes", { timeout: 240_000 }, async () => {
    const saved: GpuReport[] = [];
    const report = await benchGpu({ small: true, save: (one) => saved.push(one) });
    expect(saved).toHaveLength(report.rows.length);
    expect(saved.at(-1)).toEqual(report);
    expect(report.rows.filter(({ ms }) => typeof ms !== "number")).toEqual([]);
    expect(report.card).toMatchObject({ name: expect.stringMatching(/\w/), commit: expect.stringMatching(/\w/) });
    expect(report.copyGbps).toBeGreaterThan(0);
    const groups = [...new Set(report.rows.map(({ group }) => group))];
    expect(groups).toEqual(["copies", "products", "attention", "layer", "train step", "memory", "small"]);
    for (const row of report.rows.filter(({ tflops }) => tflops)) expect(row.productShare, row.name).toBeGreaterThan(0);
    expect(
      Math.max(...report.rows.map(({ productShare = 0, group }) => (group === "products" ? productShare : 0))),
    ).toBe(1);
  });

  test("says what it did not measure", async () => {
    const { rows, copyGbps } = await benchGpu({ small: true, seconds: 0 });
    expect(rows.length).toBeGreaterThan(30);
    for (const row of rows) expect(row).toMatchObject({ ms: "not measured", why: "the time was over" });
    expect(copyGbps).toBe("not measured");
  });

  test("finds a result that is wrong in one element, or not finite", async () => {
    setDevice("cuda");
    const product = gpuCases(SMALL_SIZES).find(({ group }) => group === "products")!;
    const inputs = product.inputs();
    await judge(product, inputs);
    const wrong = (...given: Tensor[]): Tensor => {
      const y = [product.f(...given)].flat()[0] as Tensor;
      return currentBackend().name === "cuda"
        ? y.add(pad(full([1, 1], 100, { dtype: "bfloat16" }), [0, 0], [31, 31]))
        : y;
    };
    await expect(judge({ ...product, f: wrong }, inputs)).rejects.toThrow(/^a · b: element 0 is /);
    await expect(judgeFinite("it", [inputs[0]!.mul(0)])).rejects.toThrow("it: a tensor [32,32] reaches 0");
    await expect(judgeFinite("it", [inputs[0]!.mul(Number.NaN)])).rejects.toThrow("reaches NaN");
  });
});
