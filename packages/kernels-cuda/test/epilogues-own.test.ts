/** Our own products leave activations to kernels of their own. */
import "./without-cublaslt.js";
import "./emulated.js";
import "@te/kernels-cpu";
import { cudaAvailable } from "@te/kernels-cuda";
import { setDevice } from "@te/tensor";
import { afterAll, expect, test } from "vitest";
import { expectSame } from "./epilogue-cases.js";

afterAll(() => setDevice("auto"));

test.skipIf(!cudaAvailable().available).each(["gelu", "relu"])(
  "without cuBLASLt the chain stays: %s",
  async (activation) => {
    const ops = await expectSame({ dtype: "bfloat16", biased: true, activation, width: 64 }, true);
    const chain = ["dot", "gated_activation", "gated_activation_backward", "reduce_sum"];
    expect(ops).toEqual(expect.arrayContaining(chain));
  },
);
