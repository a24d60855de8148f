/** Rows of all lengths on the GPU: those that a part of a warp holds, that a block holds, and that are read again. */
import "./emulated.js";
import "@te/kernels-cuda";
import "@te/layers";
import { crossEntropy, type DType, setDevice, tensor } from "@te/tensor";
import { type Case, CaseBuilder } from "@te/tensor/op";
import { callOp, declinedOps, findOp, runCase } from "@te/testkit";
import { afterAll, beforeAll, describe, expect, test } from "vitest";

const c = new CaseBuilder();
const FORWARD = { gradient: false };
type Float = "float32" | "bfloat16" | "float16";
type Shape = readonly [rows: number, columns: number];

beforeAll(() => setDevice("cuda"));
afterAll(() => setDevice("auto"));

const gammaOf = (n: number, dtype: DType) => c.normal([n], { dtype, mean: 1, std: 0.3 });

/** The cases of each op for one shape and dtype. */
const CASES: Readonly<Record<string, (shape: Shape, dtype: Float) => Case>> = {
  layer_norm: (shape, dtype) =>
    c.case(
      "layer_norm",
      {
        x: c.normal(shape, { dtype, mean: 3 }),
        gamma: gammaOf(shape[1], dtype),
        beta: c.normal([shape[1]], { dtype }),
      },
      { zeroCenteredGamma: true, epsilon: 1e-3 },
      // A row of one number is its mean: its gradient is zero, but for rounding.
      shape[1] === 1 ? FORWARD : {},
    ),
  rms_norm: (shape, dtype) =>
    c.case("rms_norm", { x: c.normal(shape, { dtype }), gamma: gammaOf(shape[1], dtype) }, { epsilon: 1e-3 }),
  layer_norm_quantize: (shape, dtype) =>
    c.case(
      "layer_norm_quantize",
      {
        x: c.normal(shape, { dtype }),
        gamma: gammaOf(shape[1], dtype),
        beta: c.normal([shape[1]], { dtype }),
        scale: c.values([1], [50]),
      },
      {},
      { ...FORWARD, tolerance: { n: 0.01, x: 1e-5, reason: "the order of a sum moves numbers between codes" } },
    ),
  rms_norm_quantize: (shape, dtype) =>
    c.case(
      "rms_norm_quantize",
      { x: c.normal(shape, { dtype }), gamma: gammaOf(shape[1], dtype), scale: c.values([1], [50]) },
      { dtype: "float8_e5m2" },
      { ...FORWARD, tolerance: { n: 0.01, x: 1e-5, reason: "the order of a sum moves numbers between codes" } },
    ),
  softmax: (shape, dtype) =>
    c.case("softmax", { x: c.normal(shape, { dtype, std: 2 }) }, {}, shape[1] === 1 ? FORWARD : {}),
  logsumexp: (shape, dtype) => c.case("logsumexp", { x: c.normal(shape, { dtype, mean: 5 }) }, {}, FORWARD),
  cross_entropy: (shape, dtype) =>
    c.case(
      "cross_entropy",
      { logits: c.normal(shape, { dtype, std: 2 }), labels: c.integers([shape[0]], { high: shape[1] }) },
      {},
      FORWARD,
    ),
  cross_entropy_backward: (shape, dtype) =>
    c.case("cross_entropy_backward", {
      logits: c.normal(shape, { dtype, std: 2 }),
      labels: c.integers([shape[0]], { high: shape[1] }),
      max: c.normal([shape[0]], { mean: 6, std: 0.1 }),
      sum: c.uniform([shape[0]], { low: 5, high: 50 }),
      dloss: c.normal([shape[0]]),
    }),
};

/** Runs a case with kernels of the GPU only. */
async function runOnGpu(name: string, of: Case): Promise<void> {
  const op = findOp(name);
  expect(declinedOps("cuda", op, of)).toEqual([]);
  await runCase(op, of);
}

const SHAPES: readonly (readonly [Shape, Float])[] = [
  [[300, 1], "bfloat16"],
  [[67, 7], "float16"],
  [[5, 1000], "float32"],
  [[5, 1023], "bfloat16"],
  [[3, 1500], "float16"],
  [[2, 8192], "float32"],
  [[2, 8192], "bfloat16"],
  [[2, 12_345], "bfloat16"],
  [[2, 30_001], "float32"],
  [[3, 50_257], "bfloat16"],
  [[2, 65_544], "float16"],
];

describe.each(Object.entries(CASES))("%s", (name, caseOf) => {
  test.each(SHAPES)("of rows %j, %s", (shape, dtype) => runOnGpu(name, caseOf(shape, dtype)));
  test.each<Shape>([
    [0, 5],
    [0, 0],
  ])("of no rows, %i × %i", (...shape) =>
    runOnGpu(name, { ...caseOf([1, 5], "float32"), ...without(caseOf(shape, "float32")) }),
  );
});

/** The inputs of a case, without gradients, which of nothing are nothing. */
const without = ({ inputs }: Case) => ({ inputs, ...FORWARD });

describe("gradients of norms", () => {
  test.each<[Shape, Float]>([
    [[3000, 12], "float32"],
    [[2900, 260], "float32"],
    [[1501, 261], "bfloat16"],
    [[300, 4100], "float32"],
    [[270, 8200], "bfloat16"],
    [[130, 20_000], "bfloat16"],
  ])("sum more rows than there are blocks, %j, %s", async ([rows, n], dtype) => {
    const rstd = c.uniform([rows], { low: 0.5, high: 2 });
    const given = { dy: c.normal([rows, n], { dtype }), x: c.normal([rows, n], { dtype }), gamma: gammaOf(n, dtype) };
    const mean = c.normal([rows], { std: 0.1 });
    await runOnGpu("layer_norm_backward", c.case("many rows", { ...given, mean, rstd }, {}, FORWARD));
    await runOnGpu("rms_norm_backward", c.case("many rows", { ...given, rstd }, {}, FORWARD));
  });

  test.each<[dy: Float, x: Float, gamma: Float]>([
    ["float32", "bfloat16", "float32"],
    ["bfloat16", "float32", "float16"],
    ["float16", "float16", "bfloat16"],
  ])("of dtypes %s, %s and %s", async (dy, x, gamma) => {
    for (const shape of [
      [70, 64],
      [9, 1037],
    ] as const) {
      const [rows, n] = shape;
      const rstd = c.uniform([rows], { low: 0.5, high: 2 });
      const given = { dy: c.normal(shape, { dtype: dy }), x: c.normal(shape, { dtype: x }), gamma: gammaOf(n, gamma) };
      const mean = c.normal([rows], { std: 0.1 });
      await runOnGpu("layer_norm_backward", c.case("mixed", { ...given, mean, rstd }, {}, FORWARD));
      await runOnGpu("rms_norm_backward", c.case("mixed", { ...given, rstd }, {}, FORWARD));
    }
  });
});

test.each<[x: Float, gamma: Float, beta: Float]>([
  ["bfloat16", "float32", "float16"],
  ["float32", "bfloat16", "float32"],
  ["float16", "float32", "bfloat16"],
])("layer_norm of dtypes %s, %s and %s", async (x, gamma, beta) => {
  for (const n of [64, 515])
    await runOnGpu(
      "layer_norm",
      c.case(
        "mixed",
        {
          x: c.normal([4, n], { dtype: x }),
          gamma: gammaOf(n, gamma),
          beta: c.normal([n], { dtype: beta }),
        },
        {},
        FORWARD,
      ),
    );
});

test.each<[y: Float, dy: Float]>([
  ["bfloat16", "float32"],
  ["float32", "float16"],
])("softmax_backward of dtypes %s and %s", async (y, dy) => {
  for (const n of [24, 2051])
    await runOnGpu(
      "softmax_backward",
      c.case("mixed", { y: c.uniform([5, n], { dtype: y, high: 2 / n }), dy: c.normal([5, n], { dtype: dy }) }),
    );
});

describe("values that are no ordinary numbers", () => {
  const ODD = [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
  /** Rows of n ordinary numbers, each with one of `odd` at a place of its own. */
  function rowsWith(odd: readonly number[], n: number, dtype: Float) {
    const values = odd.flatMap((value, row) =>
      Array.from({ length: n }, (_, k) => (k === row * 5 + 1 ? value : k % 7)),
    );
    return c.values([odd.length, n], values, dtype);
  }

  test.each([20, 1030, 40_001])("in rows of %i", async (n) => {
    for (const dtype of ["float32", "bfloat16"] as const) {
      const x = rowsWith(ODD, n, dtype);
      await runOnGpu("softmax", c.case("odd", { x }, {}, FORWARD));
      await runOnGpu("logsumexp", c.case("odd", { x }, {}, FORWARD));
      await runOnGpu(
        "cross_entropy",
        c.case("odd", { logits: x, labels: c.values([3], [0, 1, 2], "int32") }, {}, FORWARD),
      );
      await runOnGpu("rms_norm", c.case("odd", { x, gamma: gammaOf(n, dtype) }, {}, FORWARD));
      await runOnGpu(
        "layer_norm",
        c.case("odd", { x, gamma: gammaOf(n, dtype), beta: c.normal([n], { dtype }) }, {}, FORWARD),
      );
    }
  });

  test.each([6, 1030, 40_001])("rows of -inf alone, %i of them", async (n) => {
    const x = c.values(
      [1, n],
      Array.from({ length: n }, () => Number.NEGATIVE_INFINITY),
    );
    for (const op of ["softmax", "logsumexp"]) await runOnGpu(op, c.case("-inf", { x }, {}, FORWARD));
  });

  test("squares beyond float32 make a row zero, and its gradient", async () => {
    const [rows, gamma] = [tensor([[1e25, -3e30, 2]]), tensor([1, 2, 3])];
    const [y, rstd] = callOp(findOp("rms_norm"), { x: rows, gamma }, {});
    expect([...(await y!.data())]).toEqual([0, -0, 0]);
    const [dx] = callOp(findOp("rms_norm_backward"), { dy: rows, x: rows, gamma, rstd: rstd! }, {});
    expect([...(await dx!.data())].map(Math.abs)).toEqual([0, 0, 0]);
  });
});

describe("labels that are no column", () => {
  const logits = (rows: number, n: number) => tensor(new Float32Array(rows * n), { shape: [rows, n] });
  test.each<[number[], string]>([
    [[1, 40, -1], "crossEntropy: every label must be in [0, 39], got 40 at position 1"],
    [[-3, 2, 1], "crossEntropy: every label must be in [0, 39], got -3 at position 0"],
  ])("%j", async (labels, message) => {
    const bad = crossEntropy(logits(3, 40), tensor(labels, { dtype: "int32" }));
    await expect(bad.data()).rejects.toThrow(message);
    const good = crossEntropy(logits(3, 40), tensor([0, 39, 5], { dtype: "int32" }));
    expect((await good.data())[1]).toBeCloseTo(Math.log(40), 5);
  });
});
