/** Whether CUDA is there, which nodes its kernels take, and layer_norm on a GPU against its formula. */
import { tmpdir } from "node:os";
import { describe, expect, test } from "vitest";
import { cudaAvailable } from "./index.js";
import { loadCuda } from "./load.js";

describe("cudaAvailable", () => {
  test("answers with devices or with a reason, and never throws", () => {
    const answer = cudaAvailable();
    expect(answer.available).toBe(answer.devices.length > 0);
    if (!answer.available) expect(answer.reason).toMatch(/\w/);
  });

  test("a missing build is a reason", () => {
    expect(loadCuda({ TE_KERNELS: "off" })).toEqual({ reason: "TE_KERNELS=off" });
    expect(loadCuda({ TE_NATIVE_DIR: tmpdir() })).toMatchObject({ reason: expect.stringContaining("te_cuda.node") });
  });
});

const native = loadCuda();
const built = "supports" in native ? native : undefined;

describe.skipIf(!built)("CUDA kernels", () => {
  const node = (dtype: string, rows: number, columns: number, params: object = { epsilon: 1e-6 }) => {
    const x = { dtype, shape: [rows, columns] };
    const gamma = { dtype: "float32", shape: [columns] };
    const perRow = { dtype: "float32", shape: [rows] };
    return { op: "layer_norm", inputs: [x, gamma, gamma], outputs: [x, perRow, perRow], params };
  };

  test("kernels take what they know and decline the rest with a reason", () => {
    expect(built!.supports(node("bfloat16", 4, 768))).toBe(null);
    expect(built!.supports(node("float32", 4, 33))).toBe(null);
    expect(built!.supports(node("float16", 4, 768))).toMatch(/float16/);
    expect(built!.supports(node("float32", 4, 768, { tilt: 1 }))).toMatch(/'tilt'/);
    expect(built!.supports(node("float32", 1, 1 << 20))).toMatch(/too long/);
  });

  test.skipIf(!cudaAvailable().available).each([
    [3, 33],
    [5, 768],
    [2, 4096],
    [1, 20000],
  ])("layer_norm of %i rows of %i is the formula", (rows, columns) => {
    const x = Float32Array.from({ length: rows * columns }, (_, i) => Math.sin(i * 1.7) * 3 + 2);
    const gamma = Float32Array.from({ length: columns }, (_, i) => 1 + Math.cos(i) / 4);
    const beta = Float32Array.from({ length: columns }, (_, i) => Math.sin(i) / 2);
    const bytes = [x, gamma, beta].map((a) => new Uint8Array(a.buffer));
    const [y, mean, rstd] = built!
      .evaluate(node("float32", rows, columns), bytes)
      .map((b) => new Float32Array(b.buffer));
    for (let r = 0; r < rows; r++) {
      const row = x.subarray(r * columns, (r + 1) * columns);
      const average = row.reduce((s, v) => s + v, 0) / columns;
      const variance = row.reduce((s, v) => s + (v - average) ** 2, 0) / columns;
      const scale = 1 / Math.sqrt(variance + 1e-6);
      expect(mean![r]).toBeCloseTo(average, 4);
      expect(rstd![r]).toBeCloseTo(scale, 4);
      for (let c = 0; c < columns; c++) {
        expect(Math.abs(y![r * columns + c]! - ((row[c]! - average) * scale * gamma[c]! + beta[c]!))).toBeLessThan(
          2e-5,
        );
      }
    }
  });
});
