/** Products with activations, derivatives and biases in the epilogues of cuBLASLt: what the chain gives, in fewer kernels. */
import "./emulated.js";
import "@te/kernels-cpu";
import { cudaAvailable } from "@te/kernels-cuda";
import { setDevice } from "@te/tensor";
import { afterAll, describe, expect, test } from "vitest";
import { expectSame } from "./epilogue-cases.js";

afterAll(() => setDevice("auto"));

describe.skipIf(!cudaAvailable().available)("epilogues", () => {
  const halves = (["bfloat16", "float16"] as const).flatMap((dtype) =>
    [true, false].map((biased) => ({ dtype, biased })),
  );

  describe.each(halves)("of $dtype, with a bias: $biased", (of) => {
    test("gelu", async () => {
      const gelu = { ...of, activation: "gelu", width: 64 };
      expect(await expectSame(gelu, false)).toEqual(expect.arrayContaining(["dot_activation", "dot"]));
      const ops = await expectSame(gelu, true);
      for (const op of ["dot_activation", "dot_activation_backward"]) expect(ops).toContain(op);
      for (const op of ["gated_activation", "gated_activation_backward", "reduce_sum"]) expect(ops).not.toContain(op);
    });
    test("gelu, of rows that are no multiple of eight: the chain stays", async () => {
      const ops = await expectSame({ ...of, activation: "gelu", width: 20 }, true);
      expect(ops).toEqual(expect.arrayContaining(["gated_activation", "gated_activation_backward"]));
    });
    test("relu, whose derivative reads its result", async () => {
      const ops = await expectSame({ ...of, activation: "relu", width: 20 }, true);
      expect(ops).toEqual(expect.arrayContaining(["dot_activation", "gated_activation_backward"]));
      expect(ops).not.toContain("gated_activation");
    });
    test("the gradient of a bias, from the product that makes its weight's", async () => {
      const ops = await expectSame({ ...of, activation: "silu", width: 64 }, true);
      expect(ops.includes("dot_bias_gradient")).toBe(of.biased);
      expect(ops).not.toContain("reduce_sum");
    });
    test("silu stays a kernel of its own", async () => {
      const ops = await expectSame({ ...of, activation: "silu", width: 64 }, true);
      expect(ops).not.toContain("dot_activation");
      expect(ops).toContain("gated_activation");
    });
  });

  test("of float32: relu joins, gelu does not", async () => {
    const of = { dtype: "float32", biased: true, width: 64 } as const;
    expect(await expectSame({ ...of, activation: "relu" }, true)).toContain("dot_activation");
    expect(await expectSame({ ...of, activation: "gelu" }, true)).not.toContain("dot_activation");
  });
});
